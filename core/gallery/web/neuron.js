"use strict";

// The page of one neuron: all its pairs as rows of frames. Each row starts from the neuron, so the frames of a strip
// that ends on it are shown in reverse.
isthmus.neuron = (() => {
  const { TEXT, address, assets, byId, element, names, neuronLand, pairs, places } = isthmus;
  const CAPTION = { padding: 6, line: 24 }; // px above the frames at the usual size of text, see neuron.css
  const WIDE = [800, 540, 300]; // px at the usual size of text; below each, captions have one more line
  const GAP = 16; // px
  const LARGEST = 160; // px, a frame
  const NUMBERS = ["distance", "smoothness", "balance"].filter((name) => name in pairs.SCORES); // of each row
  const MICROSCOPE = "https://microscope.openai.com/models/inceptionv1/";
  const ON_MICROSCOPE = /^(conv2d[012]|mixed(3[ab]|4[a-e]|5[ab]))$/; // layers
  const partners = byId("partners");
  const sort = byId("partners-sort");
  const list = isthmus.rows(partners, makeRow);

  let neuron = null;
  let rows = [];
  let marks = { everywhere: "" }; // see names.marksIn
  let size = 96; // px, a frame

  async function show(name) {
    if (sort.children.length === 0) fillSort();
    const { hash } = location;
    const number = places.find(name);
    const found = names.find(name, () => true);
    neuron = found.length > 1 ? null : (found[0] ?? places.neurons[number] ?? null);
    rows = neuron ? pairs.rowsOf(neuron) : [];
    await loadRows();
    if (hash !== location.hash) return "";
    marks = neuron ? names.marksIn(rows, neuron) : { everywhere: "" };
    byId("neuron-title").replaceChildren(neuron ? isthmus.neuronName(neuron, marks.everywhere) : "No such neuron");
    const labels = neuron?.labels?.slice(1) ?? []; // the first is in the title
    byId("neuron-labels").hidden = labels.length === 0;
    byId("neuron-labels").replaceChildren("Also: ", ...labels.flatMap((one, i) => [i ? ", " : "", isthmus.quoted(one)]));
    byId("neuron-marks").replaceChildren(...["dead", "weak"].filter((mark) => marks[mark]).map(wordsOnMark));
    neuronLand.show(neuron ? number : undefined);
    byId("neuron-photographs").hidden = true;
    if (neuron && assets.has("photographs"))
      showPhotographs(neuron);
    byId("neuron-state").replaceChildren(...(found.length > 1 ? choice(name, found) : state(name)));
    byId("partners-head").hidden = rows.length === 0;
    sortRows();
    return neuron?.name ?? "No such neuron";
  }

  function showPhotographs(of) {
    assets
      .load("photographs")
      .then(() => isthmus.neuronPhotographs.show(of, () => of === neuron))
      .catch(address.lost);
  }

  // Load what the rows show. If a file cannot be read, the page says so and shows none.
  async function loadRows() {
    const numbers = sort.value ? [...NUMBERS, sort.value] : NUMBERS;
    await address.waitFor(pairs.loadTiles(rows, numbers)).catch((error) => {
      address.lost(error);
      rows = [];
    });
  }

  function state(name) {
    if (!name.trim()) return ["The address names no neuron: expected one as layer:channel, a channel or a label."];
    const layer = neuron ? null : names.withoutChannel(name);
    if (layer) return layer;
    if (rows.length === 0)
      return ["This atlas has no pair of ", neuron ? isthmus.inWords(neuron) : isthmus.quoted(name), "."];
    const walk = rows.some(pairs.isRoad) ? [" · ", isthmus.walkLink(neuron)] : [];
    return [`${isthmus.pairsIn(rows.length)}, from this neuron to each partner`, ...walk, ...microscope()];
  }

  // Offer the neurons that a text may mean.
  function choice(name, found) {
    const links = found.flatMap((one, i) => [
      i ? ", " : "",
      element("a", { href: address.to("neuron", one.name) }, isthmus.inWords(one)),
    ]);
    return [isthmus.quoted(name), ` may be one of ${isthmus.whole(found.length)} neurons: `, ...links, "."];
  }

  // Return a link to the same neuron of InceptionV1 on OpenAI Microscope, if it has the layer.
  function microscope() {
    const { layer, channel } = neuron;
    if (JSON.parse(document.body.dataset.model).name !== "inception-v1" || !ON_MICROSCOPE.test(layer)) return [];
    const href = `${MICROSCOPE}${layer}_0/${channel}`;
    return [" · ", element("a", { href, rel: "noreferrer", textContent: "The same neuron on OpenAI Microscope" })];
  }

  function wordsOnMark(mark) {
    const { word, meaning } = isthmus.MARKS[mark];
    const capital = word[0].toUpperCase() + word.slice(1);
    const where = marks[mark] === marks.known ? "" : ` in ${isthmus.whole(marks[mark])} of ${isthmus.pairsIn(marks.known)}`;
    return element("p", { className: "note", textContent: `${capital}${where}: ${meaning}.` });
  }

  function fillSort() {
    sort.append(...isthmus.scoreOptions("order"), element("option", { value: "", textContent: "Name" }));
    sort.value = "distance" in pairs.SCORES ? "distance" : "";
    sort.addEventListener("change", async () => {
      await loadRows();
      sortRows();
    });
    addEventListener("resize", fit);
  }

  function sortRows() {
    rows = sort.value ? [...pairs.sort(rows, sort.value)] : rows.sort((p, q) => p - q);
    fit();
  }

  function fit() {
    if (partners.clientWidth === 0) return;
    const most = rows.reduce((greatest, row) => Math.max(greatest, pairs.columns.frames[row]), 2);
    size = Math.max(8, Math.min(LARGEST, Math.floor(partners.clientWidth / most)));
    partners.style.setProperty("--tile", `${size}px`);
    const lines = 1 + WIDE.filter((least) => partners.clientWidth < least * TEXT).length;
    partners.style.setProperty("--lines", lines);
    list.set(rows.length, size + (CAPTION.padding + lines * CAPTION.line) * TEXT + GAP);
  }

  function makeRow(number) {
    const pair = pairs.at(rows[number]);
    const isA = pair.a.id === neuron.id;
    const partner = isA ? pair.b : pair.a;
    const row = element("div", { className: "partner" });
    row.setAttribute("role", "listitem");
    row.setAttribute("aria-posinset", number + 1);
    row.setAttribute("aria-setsize", rows.length);
    const scores = [...new Set([...(sort.value ? [sort.value] : []), ...NUMBERS])].map((name) => {
      const { label, meaning } = pairs.SCORES[name];
      return element(
        "span",
        { className: "faint", title: meaning, textContent: `${label.toLowerCase()} ${isthmus.short(pair[name])}` },
      );
    });
    if (pair.setting) scores.push(element("bdi", { className: "faint", textContent: pair.setting }));
    const mark = names.markIn(pair.row, neuron);
    const own = mark && mark !== marks.everywhere ? [isthmus.mark(mark, `${neuron.name} ${isthmus.MARKS[mark].word}`)] : [];
    const link = isthmus.neuronLink(partner, names.markIn(pair.row, partner));
    row.append(element("p", { className: "caption" }, link, ...own, ...scores), stripOf(pair, isA, partner));
    return row;
  }

  // Create the link to a pair, with its frames from this neuron to the partner.
  function stripOf(pair, isA, partner) {
    const strip = element("a", { className: "frames", href: address.to("pair", pair.key) });
    strip.setAttribute("aria-label", `Strip from ${neuron.name} to ${partner.name}`);
    if (pair.failed) strip.append(isthmus.failure("Failed", pair.reason));
    const showMissing = (_, words) => strip.replaceChildren(words); // once for the whole strip
    for (let i = 0; i < pair.frames && !pair.failed; i++) {
      const frame = isA ? i : pair.frames - 1 - i;
      strip.append(isthmus.frameOf(isthmus.previewPath(pair.key), pair, frame, "", showMissing));
    }
    return strip;
  }

  return { show };
})();
