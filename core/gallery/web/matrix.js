"use strict";

// The matrix: layers by layers, and within two layers channels by channels, coloured by the mean of a score. Every cell
// leads to exactly its pairs.
isthmus.matrix = (() => {
  const { address, byId, element, pairs } = isthmus;
  const COUNT = { label: "Number of pairs", meaning: "finished and failed ones" };
  const select = byId("matrix-score");

  let layerOf = null; // id of a neuron -> index of its layer
  let view = null; // the picture of two layers, if it is shown
  let shown = null; // what the address names

  const score = () => select.value || null;

  function fillScores() {
    if (select.children.length) return;
    select.append(element("option", { value: "", textContent: COUNT.label }), ...isthmus.scoreOptions("label"));
    select.value = "balance" in pairs.SCORES ? "balance" : "";
    select.addEventListener("change", changeScore);
  }

  // Return the columns that the page needs before it is shown.
  function needs() {
    fillScores();
    return [...pairs.names, ...(score() ? [score()] : [])];
  }

  async function changeScore() {
    const wanted = score();
    if (wanted) await address.waitFor(pairs.load([wanted]));
    if (wanted === score() && shown !== null) draw();
  }

  function show(value) {
    fillScores();
    layerOf ??= Uint16Array.from(pairs.neurons, ({ layer }) => pairs.layers.indexOf(layer));
    shown = read(value);
    view = null;
    byId("matrix-wrong").hidden = !shown.wrong;
    byId("matrix-wrong").replaceChildren(...(shown.wrong ?? []), " This is the matrix of all layers.");
    draw();
    if (!shown.layers) return "Matrix";
    return shown.layers.map((layer) => pairs.layers[layer]).join(" by ");
  }

  function leave() {
    view = shown = null;
  }

  // ---- the address

  // Return the indices of the two layers that an address names, or else what is wrong with it, in words.
  function read(written) {
    if (!written) return {};
    let names = null;
    try {
      names = JSON.parse(written);
    } catch {
      // not JSON: the same sentence as for other values
    }
    if (!Array.isArray(names) || names.length !== 2)
      return { wrong: ["Expected two layers as ", code('["LAYER","LAYER"]'), ", found ", isthmus.quoted(written), "."] };
    const layers = names.map((name) => pairs.layers.indexOf(name));
    const unknown = names[layers.indexOf(-1)];
    if (unknown !== undefined)
      return { wrong: ["This atlas has no pairs of the layer ", isthmus.quoted(JSON.stringify(unknown)), "."] };
    if (rowsOf(...layers).length > 0) return { layers };
    return { wrong: [`This atlas has no pair from `, ...inWords(layers), ".", ...otherWay(layers)] };
  }

  const code = (textContent) => element("code", { textContent });
  const quoted = (layer) => isthmus.quoted(pairs.layers[layer]);
  const inWords = ([a, b]) => [quoted(a), " to ", quoted(b)];
  const hrefOf = (layers) => address.to("matrix", JSON.stringify(layers.map((layer) => pairs.layers[layer])));

  // Lead to the matrix of the same layers in the other direction, if it has pairs.
  function otherWay([a, b]) {
    const { length } = rowsOf(b, a);
    if (!length) return [];
    return [" ", element("a", { href: hrefOf([b, a]) }, isthmus.pairsIn(length), " from ", ...inWords([b, a])), "."];
  }

  // Return the rows of all pairs from one layer to another.
  function rowsOf(layerA, layerB) {
    const { a, b } = pairs.columns;
    const rows = [];
    for (let row = 0; row < pairs.count; row++)
      if (layerOf[a[row]] === layerA && layerOf[b[row]] === layerB) rows.push(row);
    return rows;
  }

  // ---- what is seen

  function draw() {
    const cells = shown.layers ? drawChannels(...shown.layers) : drawLayers();
    describe(cells);
  }

  // Describe the score, its scale and the cells without a score.
  function describe({ counts, unknown, scale: { worst, best, least, most } }) {
    const { label, meaning } = pairs.SCORES[score()] ?? COUNT;
    const each = counts.some((count) => count > 1) ? ", mean of each cell" : "";
    const noun = isthmus.counted(counts.length, "cell");
    const state = score() ? [`${label}${each}: ${meaning}.`] : [`${label}: ${meaning}.`];
    const isKnown = unknown < counts.length;
    const written = score() ? isthmus.short : isthmus.whole;
    if (isKnown) state.push(`Here it is from ${written(least)} to ${written(most)}.`);
    if (unknown && isKnown)
      state.push(`${isthmus.whole(unknown)} of ${noun} ${unknown === 1 ? "has" : "have"} no such score.`);
    if (!isKnown && counts.length) state.push(`No pair ${shown.layers ? "here" : "of this atlas"} has this score.`);
    byId("matrix-state").textContent = pairs.count ? state.join(" ") : "This atlas has no pairs.";
    const [from, ramp, to] = byId("matrix-scale").children;
    byId("matrix-scale").hidden = !isKnown;
    byId("matrix-unknown").hidden = unknown === 0;
    from.textContent = written(worst);
    to.textContent = `${written(best)} ${score() ? "(best)" : ""}`;
    ramp.setAttribute("aria-label", `The stronger, the ${score() ? "better" : "more pairs"}`);
  }

  // ---- layers by layers: a table of links

  function drawLayers() {
    const { a, b } = pairs.columns;
    const names = pairs.layers;
    const all = new Uint32Array(pairs.count).map((_, row) => row);
    const cells = isthmus.cells.gather(all, (row) => layerOf[a[row]] * names.length + layerOf[b[row]], score());
    const used = (indexOf) => [...new Set([...cells.places.keys()].map(indexOf))].sort((p, q) => p - q);
    const [rows, columns] = [used((cell) => Math.floor(cell / names.length)), used((cell) => cell % names.length)];
    const header = (scope, layer) => element("th", { scope, title: names[layer] }, quoted(layer));
    const table = element("table", { className: "layers" });
    table.setAttribute("aria-describedby", "matrix-axes");
    const axes = "Rows: layer of a, where strips start. Columns: layer of b, where they end.";
    table.createTHead().append(element("tr", {}, element("td", {}, "a ↓ b →"), ...columns.map((b) => header("col", b))));
    const body = table.createTBody();
    for (const a of rows) {
      const made = columns.map((b) => makeCell(a, b, cells, cells.places.get(a * names.length + b)));
      body.append(element("tr", {}, header("row", a), ...made));
    }
    byId("matrix-title").textContent = "Matrix";
    byId("cells").replaceChildren(
      element("p", { className: "faint", id: "matrix-axes", textContent: axes }),
      element("div", { className: "scroll" }, table),
    );
    return cells;
  }

  function makeCell(a, b, { counts, means, shares }, place) {
    const cell = element("td", {});
    if (place === undefined) return cell;
    const [from, to] = [pairs.layers[a], pairs.layers[b]];
    if (Number.isNaN(shares[place])) cell.className = "hatched";
    else cell.style.setProperty("--share", shares[place]);
    const link = (href, said, ...content) => {
      const made = element("a", { href }, ...content);
      made.setAttribute("aria-label", `${made.textContent} ${said}`);
      return made;
    };
    const mean = score() ? element("b", { textContent: isthmus.short(means[place]) }) : "";
    const strips = address.toGrid({ layer_a: from, layer_b: to });
    cell.append(
      link(strips, `from ${from} to ${to}: show the strips`, mean, mean && " · ", isthmus.pairsIn(counts[place])),
      link(hrefOf([a, b]), `of ${from} by ${to}`, "channels"),
    );
    return cell;
  }

  // ---- channels by channels: a picture with a cursor

  function drawChannels(layerA, layerB) {
    const { a, b } = pairs.columns;
    const rows = rowsOf(layerA, layerB);
    const neuronsIn = (column) =>
      [...new Set(rows.map((row) => column[row]))].sort((p, q) => pairs.neurons[p].channel - pairs.neurons[q].channel);
    const [down, across] = [neuronsIn(a), neuronsIn(b)];
    const [downOf, acrossOf] = [down, across].map((ids) => new Map(ids.map((id, index) => [id, index])));
    const cellOf = (row) => downOf.get(a[row]) * across.length + acrossOf.get(b[row]);
    const cells = isthmus.cells.gather(rows, cellOf, score());
    byId("matrix-title").replaceChildren(element("span", {}, quoted(layerA), " by ", quoted(layerB)));
    if (view) view.set(cells);
    else {
      const axes = ["Rows: a, channels of ", quoted(layerA), ". Columns: b, channels of ", quoted(layerB), "."];
      const back = element("a", { href: address.to("matrix"), textContent: "All layers" });
      byId("cells").replaceChildren(element("p", { className: "line" }, back, element("span", {}, ...axes)));
      view = isthmus.matrixView(byId("cells"), { down, across, cells });
    }
    return cells;
  }

  return { needs, show, leave };
})();
