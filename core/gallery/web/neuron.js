"use strict";

// The page of one neuron: all its pairs as rows of frames. Each row starts from the neuron, so the frames of a strip
// that ends on it are shown in reverse.
isthmus.neuron = (() => {
  const { byId, element, neuronLand, pairs, places } = isthmus;
  const CAPTION = 30; // px above the frames, see grid.css
  const GAP = 16; // px
  const LARGEST = 160; // px, a frame
  const partners = byId("partners");
  const sort = byId("partners-sort");
  const list = isthmus.rows(partners, makeRow);

  let neuron = null;
  let rows = [];
  let allDead = false; // whether the neuron is dead in every pair of which that is known
  let size = 96; // px, a frame

  function show(name) {
    if (sort.children.length === 0) fillSort();
    const number = places.find(name);
    neuron = pairs.neuronByName.get(name) ?? places.neurons[number] ?? null;
    rows = neuron ? pairs.rowsOf(neuron) : [];
    const dead = rows.filter((row) => isDead(row)).length;
    const known = rows.filter((row) => pairs.columns.excited[row] < pairs.EXCITED.length).length;
    allDead = dead > 0 && dead === known;
    byId("neuron-title").replaceChildren(neuron ? isthmus.neuronName(neuron, allDead) : "No such neuron");
    byId("neuron-dead").hidden = dead === 0;
    const where = allDead ? "Not excited" : `Not excited in ${isthmus.whole(dead)} of ${isthmus.pairsIn(known)}`;
    byId("neuron-dead").textContent = `${where}: ${isthmus.UNEXCITED}.`;
    neuronLand.show(number);
    const words = rows.length
      ? [`${isthmus.pairsIn(rows.length)}, from this neuron to each partner`]
      : ["This atlas has no pair of ", neuron ? isthmus.inWords(neuron) : isthmus.quoted(name), "."];
    const walk = rows.some(pairs.isRoad) ? [" · ", isthmus.walkLink(neuron)] : [];
    byId("neuron-state").replaceChildren(...words, ...walk);
    sort.parentElement.hidden = rows.length === 0;
    sortRows();
    return neuron?.name ?? "No such neuron";
  }

  // Return whether an end of a pair is dead: by default this neuron.
  const isDead = (row, other = false) => pairs.isDead(row, (pairs.columns.a[row] === neuron.id) !== other ? "a" : "b");

  function fillSort() {
    sort.append(...isthmus.scoreOptions("order"), element("option", { value: "", textContent: "Name" }));
    sort.value = "distance";
    sort.addEventListener("change", sortRows);
    addEventListener("resize", fit);
  }

  function sortRows() {
    rows = sort.value ? [...pairs.sort(rows, sort.value)] : rows.sort((p, q) => p - q);
    fit();
  }

  function fit() {
    if (partners.clientWidth === 0) return;
    const most = Math.max(2, ...rows.map((row) => pairs.columns.frames[row]));
    size = Math.max(8, Math.min(LARGEST, Math.floor(partners.clientWidth / most)));
    partners.style.setProperty("--tile", `${size}px`);
    list.set(rows.length, size + CAPTION + GAP);
  }

  function makeRow(number) {
    const pair = pairs.at(rows[number]);
    const isA = pair.a.id === neuron.id;
    const partner = isA ? pair.b : pair.a;
    const row = element("div", { className: "partner" });
    row.setAttribute("role", "listitem");
    row.setAttribute("aria-posinset", number + 1);
    row.setAttribute("aria-setsize", rows.length);
    const shown = new Set([sort.value || "distance", "distance", "smoothness", "balance"]);
    const scores = [...shown].map((name) => {
      const { label, meaning } = pairs.SCORES[name];
      return element(
        "span",
        { className: "faint", title: meaning },
        `${label.toLowerCase()} ${isthmus.short(pairs.columns[name][pair.row])}`,
      );
    });
    const own = isDead(pair.row) && !allDead ? [isthmus.deadMark(`${neuron.name} not excited`)] : [];
    const strip = element("a", { className: "frames", href: isthmus.address.to("pair", pair.key) });
    strip.setAttribute("aria-label", `Strip from ${neuron.name} to ${partner.name}`);
    if (pair.failed) strip.append(isthmus.failure("Failed", pair.reason));
    else
      for (let i = 0; i < pair.frames; i++)
        strip.append(isthmus.frameOf(isthmus.previewPath(pair.key), pair, isA ? i : pair.frames - 1 - i, ""));
    row.append(
      element("p", { className: "caption" }, isthmus.neuronLink(partner, isDead(pair.row, true)), ...own, ...scores),
      strip,
    );
    return row;
  }

  return { show, needs: () => [...pairs.tile, ...Object.keys(pairs.SCORES)] };
})();
