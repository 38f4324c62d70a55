"use strict";

// The map: layers by layers, and within two layers channels by channels, coloured by the mean of a score. Every cell is
// a link to its pairs.
isthmus.map = (() => {
  const { byId, element, pairs } = isthmus;
  const CELL = { least: 2, most: 24 }; // px, a cell of two channels
  const CANVAS_LIMIT = 4096; // px in each direction; a larger canvas stays blank in some browsers
  const score = byId("map-score");

  function show(layers) {
    if (score.children.length === 0) {
      score.append(element("option", { value: "", textContent: "Number of pairs" }), ...isthmus.scoreOptions("label"));
      score.value = "balance";
      score.addEventListener("change", () => show(new URLSearchParams(location.hash.slice(1)).get("map")));
    }
    byId("map-title").textContent = "Map";
    const two = indices(layers);
    return two ? showChannels(...two) : showLayers();
  }

  // Return the indices of the two layers in the address, or null if it does not name two layers of this atlas.
  function indices(written) {
    try {
      const [from, to] = JSON.parse(written).map((layer) => pairs.layers.indexOf(layer));
      return from >= 0 && to >= 0 ? [from, to] : null;
    } catch {
      return null;
    }
  }

  // Return means of the chosen score and numbers of pairs, for each cell that `cellOf` gives for a pair's row.
  function cellsBy(cellOf) {
    const found = new Map(); // cell -> { count, known, sum, row, mean, share }; known: pairs with a score
    const values = score.value ? pairs.columns[score.value] : null;
    for (let row = 0; row < pairs.count; row++) {
      const cell = cellOf(row);
      if (cell === null) continue;
      if (!found.has(cell)) found.set(cell, { count: 0, sum: 0, known: 0, row });
      const one = found.get(cell);
      one.count++;
      if (values === null || Number.isNaN(values[row])) continue;
      one.sum += values[row];
      one.known++;
    }
    for (const one of found.values()) one.mean = values === null ? one.count : one.known ? one.sum / one.known : NaN;
    const means = [...found.values()].map(({ mean }) => mean).filter((mean) => !Number.isNaN(mean));
    const [least, most] = extent(means);
    for (const one of found.values()) one.share = most === least ? 1 : (one.mean - least) / (most - least) || 0;
    byId("map-state").textContent = means.length ? legend(least, most) : "No pair has this score.";
    return found;
  }

  // Return the least and the greatest of some numbers; a million arguments are too many for Math.min.
  const extent = (numbers) =>
    numbers.reduce(([least, most], one) => [Math.min(least, one), Math.max(most, one)], [Infinity, -Infinity]);

  function legend(least, most) {
    const { label, meaning } = pairs.SCORES[score.value] ?? { label: "Number of pairs" };
    const colours = `Colours: from ${isthmus.short(least)} (faintest) to ${isthmus.short(most)} (strongest).`;
    return meaning ? `${label}, mean of each cell: ${meaning}. ${colours}` : `${label} in each cell. ${colours}`;
  }

  // ---- layers by layers: a table of links

  function showLayers() {
    const { layer_a, layer_b } = pairs.columns;
    const names = pairs.layers;
    const found = cellsBy((row) => layer_a[row] * names.length + layer_b[row]);
    const used = (column) => [...new Set(column)];
    const [rows, columns] = [used(layer_a), used(layer_b)];
    const header = (scope, layer) => element("th", { scope }, isthmus.quoted(names[layer]));
    const table = element("table", { className: "layers" });
    table.createTHead().append(element("tr", {}, element("td", {}, "a ╲ b"), ...columns.map((b) => header("col", b))));
    const body = table.createTBody();
    for (const a of rows) {
      const cellsOfRow = columns.map((b) => makeCell(a, b, found.get(a * names.length + b)));
      body.append(element("tr", {}, header("row", a), ...cellsOfRow));
    }
    byId("matrix").replaceChildren(element("div", { className: "scroll" }, table));
    return "Map";
  }

  function makeCell(a, b, facts) {
    const cell = element("td", {});
    if (!facts) return cell;
    const [from, to] = [pairs.layers[a], pairs.layers[b]];
    cell.style.setProperty("--share", facts.share);
    const link = (href, title, label, ...content) => {
      const made = element("a", { href, title }, ...content);
      made.setAttribute("aria-label", `${from} to ${to}${label}`);
      return made;
    };
    const mean = isthmus.short(facts.mean);
    const strips = isthmus.address.toGrid({ layer_a: from, layer_b: to });
    const channels = isthmus.address.to("map", JSON.stringify([from, to]));
    cell.append(
      link(
        strips,
        "Show the strips",
        `: ${isthmus.pairsIn(facts.count)}, ${mean}; show the strips`,
        element("b", {}, mean),
      ),
      link(channels, "Show a map of their channels", ", channel by channel", `${isthmus.whole(facts.count)} ⊞`),
    );
    return cell;
  }

  // ---- channels by channels: a picture with a cursor

  function showChannels(layerA, layerB) {
    const view = channelView(layerA, layerB);
    listen(view);
    const back = element("a", { href: isthmus.address.to("map"), textContent: "All layers" });
    const [a, b] = [layerA, layerB].map((layer) => isthmus.quoted(pairs.layers[layer]));
    byId("map-title").replaceChildren(element("span", {}, a, " by ", b));
    byId("matrix").replaceChildren(
      element("p", { className: "line" }, back, view.status),
      element("div", { className: "scroll" }, view.canvas),
    );
    moveTo(view, ...view.cursor);
    return `${pairs.layers[layerA]} by ${pairs.layers[layerB]}`;
  }

  // Return the picture of two layers: `down` and `across` are ids of neurons, `cells` is keyed by the number of a cell,
  // row by row, `size` is a cell's in px, and `cursor` is the row and column of a cell.
  function channelView(layerA, layerB) {
    const { a, b, layer_a, layer_b } = pairs.columns;
    const isHere = (row) => layer_a[row] === layerA && layer_b[row] === layerB;
    const rows = Uint32Array.from({ length: pairs.count }, (_, row) => row).filter(isHere);
    const neuronsIn = (column) =>
      [...new Set(rows.map((row) => column[row]))].sort((p, q) => pairs.neurons[p].channel - pairs.neurons[q].channel);
    const [down, across] = [neuronsIn(a), neuronsIn(b)];
    const [downOf, acrossOf] = [down, across].map((ids) => new Map(ids.map((id, index) => [id, index])));
    const cells = cellsBy((row) => (isHere(row) ? downOf.get(a[row]) * across.length + acrossOf.get(b[row]) : null));

    const width = Math.min(byId("map-page").clientWidth, 1400);
    const size = Math.max(CELL.least, Math.min(CELL.most, Math.floor(width / Math.max(1, across.length))));
    const scale = Math.min(1, CANVAS_LIMIT / (Math.max(across.length, down.length) * size)); // canvas px per CSS px
    const sides = [across.length * size, down.length * size];
    const canvas = element("canvas", { tabIndex: 0 });
    [canvas.width, canvas.height] = sides.map((side) => Math.ceil(side * scale));
    [canvas.style.width, canvas.style.height] = sides.map((side) => `${side}px`);
    canvas.setAttribute("role", "application");
    canvas.setAttribute(
      "aria-label",
      `Channels of ${pairs.layers[layerA]} down, of ${pairs.layers[layerB]} across; arrow keys move, Enter opens`,
    );
    const status = element("output", { className: "faint" });
    const first = cells.size ? extent([...cells.keys()])[0] : 0;
    const cursor = [Math.floor(first / across.length), first % across.length];
    return { down, across, cells, size, scale, canvas, status, cursor };
  }

  function draw({ across, cells, size, scale, canvas, cursor: [y, x] }) {
    const context = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.scale(scale, scale);
    context.fillStyle = style.color;
    const filled = Math.max(1, size - 1);
    for (const [number, { share }] of cells) {
      context.globalAlpha = 0.15 + 0.85 * share;
      const [top, left] = [Math.floor(number / across.length) * size, (number % across.length) * size];
      context.fillRect(left, top, filled, filled);
    }
    context.globalAlpha = 1;
    context.strokeStyle = style.outlineColor;
    context.lineWidth = 2;
    context.strokeRect(x * size + 1, y * size + 1, Math.max(2, size - 2), Math.max(2, size - 2));
  }

  // Return the cell at the cursor, if it has pairs, and its neurons.
  function atCursor({ down, across, cells, cursor: [y, x] }) {
    return { cell: cells.get(y * across.length + x), from: pairs.neurons[down[y]], to: pairs.neurons[across[x]] };
  }

  function moveTo(view, y, x) {
    const within = (wanted, ids) => Math.max(0, Math.min(ids.length - 1, wanted));
    view.cursor = [within(y, view.down), within(x, view.across)];
    const { cell, from, to } = atCursor(view);
    const facts = cell ? `: ${isthmus.pairsIn(cell.count)}, ${isthmus.short(cell.mean)}` : ": no pair";
    view.status.replaceChildren(isthmus.inWords(from), " to ", isthmus.inWords(to), facts);
    draw(view);
  }

  function open(view) {
    const { cell, from, to } = atCursor(view);
    if (!cell) return;
    if (cell.count === 1) location.hash = isthmus.address.to("pair", pairs.key(cell.row));
    else location.hash = isthmus.address.toGrid({ text: `${from.name} ${to.name}` });
  }

  function listen(view) {
    const { canvas, size } = view;
    const under = (event) => [Math.floor(event.offsetY / size), Math.floor(event.offsetX / size)];
    canvas.addEventListener("pointermove", (event) => moveTo(view, ...under(event)));
    canvas.addEventListener("click", (event) => {
      moveTo(view, ...under(event));
      open(view);
    });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (step) moveTo(view, view.cursor[0] + step[0], view.cursor[1] + step[1]);
      else if (event.key === "Enter") open(view);
      else return;
      event.preventDefault();
    });
  }

  return { show, needs: () => ["key", ...pairs.names, ...Object.keys(pairs.SCORES)] };
})();
