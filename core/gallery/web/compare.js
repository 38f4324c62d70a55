"use strict";

// Two to four strips under one scrubber. It goes by the share of the way, so that strips of different numbers of frames
// move together. Strips of other atlases stand in frames of their own, which follow by messages, see embed.js.
isthmus.compare = (() => {
  const { address, byId, element, film, pairs, reference } = isthmus;
  const MOST = 4; // strips
  const NUMBERS = ["activation_a", "activation_b", ...Object.keys(pairs.SCORES)];
  const PATIENCE = 5000; // ms, for another atlas to answer
  const rail = byId("compare-rail");
  const scrubber = isthmus.scrubber(rail, { show: showPosition, words: sayPosition, button: byId("compare-play") });

  let strips = []; // { reference, pair, record, show }; pair and record only of strips of this atlas
  let shown = null; // the value in the address

  async function show(value) {
    shown = value ?? "";
    const { references, mistakes } = read(shown);
    const found = await Promise.all(references.map((one) => load(one).catch((error) => error)));
    if (shown !== (value ?? "")) return document.title; // the reader has gone on
    const missing = found.filter((one) => one instanceof Error).map(whyMissing);
    strips = found.filter((one) => !(one instanceof Error));
    tell([...mistakes, ...missing, ...few()]);
    byId("compare-stage").hidden = strips.length === 0;
    const own = strips.filter(({ pair }) => pair);
    const positions = Math.max(2, ...own.map(({ pair }) => pair.frames));
    rail.style.setProperty("--positions", positions);
    byId("compare-large").style.setProperty("--strips", Math.max(2, strips.length));
    byId("compare-large").replaceChildren(...strips.map(largeOf));
    byId("compare-strips").replaceChildren(...own.map(stripOf));
    showNumbers(own);
    scrubber.begin(positions, Math.round(scrubber.share * (positions - 1)));
    return "Compare";
  }

  const whyMissing = ({ path, message }) => (path ? `${path} could not be read. Reload this page.` : message);

  // Read the address. Return at most MOST references, and what is wrong with the others.
  function read(value) {
    const references = [];
    const mistakes = [];
    for (const written of reference.split(value)) {
      try {
        references.push(reference.read(written));
      } catch ({ message }) {
        mistakes.push(`${message}.`);
      }
    }
    if (references.length > MOST) mistakes.push(`At most ${MOST} strips are compared; the others are left out.`);
    return { references: references.slice(0, MOST), mistakes };
  }

  function few() {
    if (strips.length > 1) return [];
    const which = strips.length ? "another strip" : "strips";
    return [
      `Add ${which}: a key, or the address of the page of a pair, in this atlas or in another on the same server.`,
    ];
  }

  function tell(mistakes) {
    byId("compare-state").hidden = mistakes.length === 0;
    byId("compare-state").replaceChildren(...mistakes.map((text) => element("p", {}, isthmus.quoted(text))));
  }

  async function load(one) {
    if (one.page) return { reference: one };
    const row = await pairs.rowOfKey(one.key);
    if (row < 0) throw new Error(`This atlas has no pair with the key ${one.key}.`);
    await pairs.loadTiles([row], NUMBERS);
    const pair = pairs.at(row);
    if (pair.failed) throw new Error(`${pair.name} failed, so it has no strip.`);
    return { reference: one, pair, record: JSON.parse(await pairs.line(row)) };
  }

  // ---- strips

  function largeOf(strip, place) {
    const caption = element(
      "figcaption",
      {},
      toolsOf(strip, place),
      ...(strip.pair ? titleOf(strip) : [addressOf(strip)]),
    );
    const figure = element("figure");
    figure.append(strip.pair ? windowOf(strip) : frameOf(strip, caption), caption);
    return figure;
  }

  function titleOf({ pair }) {
    const names = ["a", "b"].map((end) => isthmus.neuronName(pair[end], isthmus.markOf(pair, end)));
    const href = address.to("pair", pair.key);
    const setting = pairs.differences[pairs.columns.setting[pair.row]] ?? "";
    return [
      element("a", { className: "to-neuron", href, title: pair.name }, ...names),
      element("div", { className: "which" }, isthmus.quoted(setting)),
    ];
  }

  function addressOf({ reference: { key, page } }) {
    return element("div", {}, element("a", { href: `${page}#pair=${key}` }, isthmus.quoted(page)));
  }

  function windowOf(strip) {
    const made = element("div", { className: "frame-window" });
    film.load(made, strip.pair, (path) => tell([`No picture at ${path}.`]));
    strip.show = (share) => film.show(made, frameAt(strip, share));
    scrubber.listenTo(made, () => strip.pair.frames);
    return made;
  }

  const frameAt = ({ pair }, share) => Math.round(share * (pair.frames - 1));

  // Create the frame of another atlas. If no strip answers, the caption says so.
  function frameOf(strip, caption) {
    const src = reference.embedded(strip.reference);
    const frame = element("iframe", { src, title: `Strip ${strip.reference.key} of another atlas` });
    strip.frame = frame;
    strip.show = (share) => frame.contentWindow?.postMessage({ isthmus: { share } }, "*"); // nothing in it is secret
    const silence = setTimeout(
      () => caption.prepend(element("div", { className: "error" }, "No strip answers at this address.")),
      PATIENCE,
    );
    strip.answered = () => clearTimeout(silence);
    return frame;
  }

  addEventListener("message", ({ source, data }) => {
    const strip = strips.find(({ frame }) => frame && frame.contentWindow === source);
    const said = data?.isthmus;
    if (!strip || typeof said !== "object" || said === null) return;
    strip.answered();
    if (said.ready === true) strip.show(scrubber.share);
    else if (typeof said.share === "number" && said.share >= 0 && said.share <= 1) {
      scrubber.play(false);
      scrubber.goToShare(said.share);
    }
  });

  function toolsOf(strip, place) {
    const button = (textContent, label, change) => {
      const made = element("button", { type: "button", textContent });
      made.setAttribute("aria-label", label);
      made.addEventListener("click", () => change());
      return made;
    };
    const others = strips.filter((one) => one !== strip);
    const swapped = [...strips];
    [swapped[place - 1], swapped[place]] = [swapped[place], swapped[place - 1]];
    return element(
      "p",
      { className: "line" },
      element("span", { className: "which", textContent: `${place + 1}` }),
      ...(place > 0 ? [button("← Swap", `Swap strips ${place} and ${place + 1}`, () => go(swapped))] : []),
      button("Remove", `Remove strip ${place + 1}`, () => go(others)),
    );
  }

  const go = (wanted) =>
    (location.hash = address.to("compare", reference.join(wanted.map((strip) => strip.reference))));

  byId("add-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const field = byId("add-key");
    try {
      if (strips.length === MOST) throw new Error(`At most ${MOST} strips are compared: remove one first`);
      go([...strips, { reference: reference.read(field.value) }]);
      field.value = "";
    } catch ({ message }) {
      field.setCustomValidity(`${message}.`);
      field.reportValidity();
    }
  });
  byId("add-key").addEventListener("input", () => byId("add-key").setCustomValidity(""));

  // Create the row of a strip: all its frames above its curves.
  function stripOf(strip) {
    const { pair, record } = strip;
    const curves = ["a", "b"].map((end) => ({
      kind: `curve-${end}`,
      name: `the activation of ${end}`,
      values: record[`activation_${end}`],
    }));
    const cursor = element("div", { className: "frame-cursor" });
    const surface = element(
      "div",
      { className: "scrubber" },
      film.row(pair),
      isthmus.chart(curves, `activations, ${pair.name}`),
      cursor,
    );
    scrubber.listenTo(surface, () => pair.frames);
    const showLarge = strip.show;
    strip.show = (share) => {
      showLarge(share);
      surface.style.setProperty("--frame", frameAt(strip, share));
    };
    const number = element("span", { className: "which", textContent: `${strips.indexOf(strip) + 1}` });
    const made = element(
      "div",
      { className: "compared" },
      element("p", {}, number, isthmus.quoted(pair.name)),
      surface,
    );
    made.style.setProperty("--frames", pair.frames);
    return made;
  }

  function showPosition(position) {
    rail.style.setProperty("--position", position);
    byId("compare-legend").textContent = `${Math.round(100 * scrubber.share)} %`;
    for (const strip of strips) strip.show?.(scrubber.share);
  }

  function sayPosition() {
    const frames = strips
      .filter(({ pair }) => pair)
      .map((strip) => `frame ${frameAt(strip, scrubber.share) + 1} of ${strip.pair.frames}`);
    return `${Math.round(100 * scrubber.share)} % of the way, ${frames.join(", ")}`;
  }

  // ---- numbers

  // Show settings and other facts that differ, and all scores.
  function showNumbers(own) {
    byId("compare-table").hidden = own.length === 0;
    const table = element("table");
    const heads = own.map((strip) => cell("th", `strip ${strips.indexOf(strip) + 1}`, "col"));
    table.createTHead().append(element("tr", {}, element("td"), ...heads));
    const facts = factsOf(own).filter(([, values]) => new Set(values).size > 1);
    const rows = [...facts, ...scoresOf(own)].map(([name, values, best, meaning = ""]) => {
      const differs = new Set(values).size > 1;
      const cells = values.map((value, place) =>
        element("td", {}, differs && best?.has(place) ? element("b", {}, value) : isthmus.quoted(value)),
      );
      return element("tr", { className: differs ? "differs" : "", title: meaning }, cell("th", name, "row"), ...cells);
    });
    table.createTBody().append(...rows);
    byId("compare-numbers").replaceChildren(table);
  }

  const cell = (tag, textContent, scope) => element(tag, { textContent, scope });

  const asText = (value) => (typeof value === "string" ? value : JSON.stringify(value ?? null));

  function factsOf(own) {
    const settings = new Set(own.flatMap(({ record }) => Object.keys(record.settings)));
    return [
      ...["a", "b", "strip", "model", "model_digest", "method", "device"].map((name) => [
        name,
        own.map(({ record }) => asText(record[name])),
      ]),
      ...[...settings].map((name) => [name, own.map(({ record }) => asText(record.settings[name]))]),
    ];
  }

  // Return the scores as [name, texts, places of the best, meaning].
  function scoresOf(own) {
    return Object.entries(pairs.SCORES).map(([name, { label, highestFirst, meaning }]) => {
      const values = own.map(({ pair }) => pair[name] ?? pairs.columns[name][pair.row]);
      const known = values.filter((value) => !Number.isNaN(value));
      const best = highestFirst ? Math.max(...known) : Math.min(...known);
      const places = new Set(values.flatMap((value, place) => (value === best ? [place] : [])));
      return [label.toLowerCase(), values.map(isthmus.short), places, meaning];
    });
  }

  return { show, needs: () => [] };
})();
