"use strict";

// Photographs: what excites each neuron most among those that the atlas was compared with, and what lies between two
// neurons. One script, the album, which is loaded with this one, leads to scripts about some neurons and about the natural
// strips of some pairs. Only small pictures are published, or, if the atlas says so, numbers alone.
isthmus.photographs = (() => {
  const { element, pairs } = isthmus;
  const KEPT = 4; // scripts whose content stays in memory, of each kind
  const NUMBERS = ["both", "by_chance", "multiple_a", "multiple_b", "correlation"]; // of a pair
  const scripts = { shown: new Map(), natural: new Map() }; // number -> content, the most recently used last
  const album = {};
  const others = new Map(); // name of a neuron without pairs -> its number in the scripts, after those of all others

  isthmus.album = (given) => {
    Object.assign(album, given);
    for (const [layer, channels] of Object.entries(given.others))
      for (const channel of channels)
        others.set(`${isthmus.writtenLayer(layer)}:${channel}`, pairs.neurons.length + others.size);
    const numbers = numbersIn(given.strongest, pairs.neurons.length * given.most);
    for (const neuron of pairs.neurons) {
      const own = [...numbers.subarray(neuron.id * given.most, (neuron.id + 1) * given.most)];
      const names = own.filter((number) => number < given.classes.length).map((number) => given.classes[number]);
      neuron.lower = [neuron.lower, ...names].join("\n").toLowerCase(); // a search for a class finds its neurons
    }
    isthmus.ran["data/album"] = 1;
  };
  isthmus.shown = (number, summaries) => scripts.shown.set(number, summaries);
  isthmus.natural = (number, strips) => scripts.natural.set(number, strips);

  // Return the numbers of a column, of which it may have one alone that all are equal to.
  const numbersIn = (column, count) =>
    Array.isArray(column) ? pairs.numbersIn(column) : new Float32Array(count).fill(column ?? NaN);

  async function contentOf(kind, number) {
    const found = scripts[kind];
    const path = pairs.dataPath(kind, number, album[kind].digests[number]);
    if (!found.has(number)) await pairs.runScript(path, () => found.has(number));
    const content = found.get(number);
    found.delete(number);
    found.set(number, content);
    if (found.size > KEPT) found.delete(found.keys().next().value);
    return content;
  }

  // Return what photographs say of a neuron; null if nothing.
  async function ofNeuron({ id, name }) {
    const { rows } = album.shown;
    const number = id < 0 ? others.get(name) : id;
    return number === undefined ? null : (await contentOf("shown", Math.floor(number / rows)))[number % rows];
  }

  // Return the natural strip of a pair: some numbers, NaN if they are unknown, and `frames`, which has the photographs of
  // each frame, the strongest first, each with its levels for a and b.
  async function ofPair({ row }) {
    const { rows, most } = album.natural;
    const start = row - (row % rows);
    const members = Array.from({ length: Math.min(rows, pairs.count - start) }, (_, place) => start + place);
    const [content] = await Promise.all([contentOf("natural", start / rows), pairs.load(["frames"], members)]);
    const facts = NUMBERS.map((name) => [name, numbersIn(content[name], rows)[row - start]]);
    const slots = members.reduce((sum, member) => sum + pairs.columns.frames[member] * most, 0);
    const before = members.filter((member) => member < row);
    const first = before.reduce((sum, member) => sum + pairs.columns.frames[member] * most, 0);
    const [places, a, b] = ["photographs", "a", "b"].map((name) => numbersIn(content[name], slots));
    const frames = Array.from({ length: pairs.columns.frames[row] }, (_, frame) => {
      const own = Array.from({ length: most }, (_, slot) => first + frame * most + slot).filter((slot) => places[slot] > 0);
      return own.map((slot) => ({ ...content.pictures?.[places[slot] - 1], ...levelsAt(slot) }));
    });
    return { ...Object.fromEntries(facts), frames };

    function levelsAt(slot) {
      return { a: a[slot] / album.natural.steps, b: b[slot] / album.natural.steps };
    }
  }

  // ---- elements

  const path = (digest) => `images/thumbnails/${digest.slice(0, 2)}/${digest}.webp`;

  const classOf = (photograph) => album.classes[photograph.class];

  // Return what is known of the content of a photograph.
  const words = (photograph) => [classOf(photograph), photograph.caption].filter(Boolean).join(": ");

  // Create the picture of a photograph, or of a part of it by another digest.
  function picture(photograph, digest = photograph.picture) {
    if (!digest) return element("span", { className: "no-picture", textContent: "no picture" });
    const made = element("img", { src: path(digest), alt: words(photograph) || "photograph", loading: "lazy", draggable: false });
    made.addEventListener("error", () => made.replaceWith(picture(photograph, "")));
    return made;
  }

  // Return the sentence about the source of the photographs.
  function source() {
    const told = `${isthmus.counted(album.photographs, "photograph")} ${album.photographs === 1 ? "was" : "were"} compared.`;
    const licence = element("a", { href: "images/licence.txt", textContent: "Their licence" });
    return element("p", { className: "faint" }, told, ...(album.licence && album.published ? [" ", licence] : []));
  }

  const percent = (share, digits = 2) => `${Number((100 * share).toPrecision(digits))} %`;

  // Return the share of all photographs that excite a neuron at least as strongly as one of a level.
  const shareAt = (level) => 0.5 / 2 ** level;

  return { album, ofNeuron, ofPair, picture, words, classOf, source, percent, shareAt };
})();
