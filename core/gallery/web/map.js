"use strict";

// The map: layers by layers, and inside two layers channels by channels, coloured by the mean of a score. Every cell
// leads to its pairs.
isthmus.map = (() => {
  const { byId, element, pairs } = isthmus;
  const CELL = { least: 2, most: 24 }; // px on the canvas
  const score = byId("map-score");

  function show(layers) {
    if (score.children.length === 0) {
      score.append(element("option", { value: "", textContent: "Number of pairs" }), ...isthmus.scoreOptions("label"));
      score.value = "balance";
      score.addEventListener("change", () => show(new URLSearchParams(location.hash.slice(1)).get("map")));
    }
    byId("map-title").textContent = "Map";
    const inside = indices(layers);
    return inside ? showNeurons(...inside) : showLayers();
  }

  // Two layers of this atlas, from the address; anything else there is taken for none.
  function indices(written) {
    try {
      const [from, to] = JSON.parse(written).map((layer) => pairs.layers.indexOf(layer));
      return from >= 0 && to >= 0 ? [from, to] : null;
    } catch {
      return null;
    }
  }

  // Means of the chosen score and numbers of pairs, by the cell that a row of the index falls into.
  function cells(cellOf) {
    const found = new Map(); // cell -> { count, sum, known }
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
    const [least, most] = [Math.min(...means), Math.max(...means)];
    for (const one of found.values()) one.share = most === least ? 1 : (one.mean - least) / (most - least) || 0;
    byId("map-state").textContent = means.length ? legend(least, most) : "No pair has this score.";
    return found;
  }

  function legend(least, most) {
    const meaning = pairs.SCORES[score.value]?.meaning ?? "in each cell";
    const ends = `from ${isthmus.short(least)}, the palest, to ${isthmus.short(most)}`;
    return `${score.selectedOptions[0].textContent} ${ends}: ${meaning}.`;
  }

  // ---- layers by layers: a table of links

  function showLayers() {
    const { layer_a, layer_b } = pairs.columns;
    const names = pairs.layers;
    const found = cells((row) => layer_a[row] * names.length + layer_b[row]);
    const used = (column) => [...new Set(column)];
    const [rows, columns] = [used(layer_a), used(layer_b)];
    const header = (scope, layer) => element("th", { scope }, isthmus.quoted(names[layer]));
    const table = element("table", { className: "layers" });
    table.createTHead().append(element("tr", {}, element("td", {}, "a ╲ b"), ...columns.map((b) => header("col", b))));
    const body = table.createTBody();
    for (const a of rows) {
      const cellsOfRow = columns.map((b) => cellOf(a, b, found.get(a * names.length + b)));
      body.append(element("tr", {}, header("row", a), ...cellsOfRow));
    }
    byId("matrix").replaceChildren(element("div", { className: "scroll" }, table));
    return "Map";
  }

  function cellOf(a, b, one) {
    const cell = element("td", {});
    if (!one) return cell;
    const [from, to] = [pairs.layers[a], pairs.layers[b]];
    cell.style.setProperty("--share", one.share);
    const link = (href, title, label, ...content) => {
      const made = element("a", { href, title }, ...content);
      made.setAttribute("aria-label", `${from} to ${to}${label}`);
      return made;
    };
    const mean = isthmus.short(one.mean);
    const strips = isthmus.address.toGrid({ layer_a: from, layer_b: to });
    const channels = isthmus.address.to("map", JSON.stringify([from, to]));
    cell.append(
      link(
        strips,
        "show the strips",
        `: ${isthmus.pairsIn(one.count)}, ${mean}; show the strips`,
        element("b", {}, mean),
      ),
      link(channels, "channel by channel", ", channel by channel", `${isthmus.whole(one.count)} ⊞`),
    );
    return cell;
  }

  // ---- channels by channels: a picture with a cursor

  function showNeurons(layerA, layerB) {
    const { a, b, layer_a, layer_b } = pairs.columns;
    const here = (row) => layer_a[row] === layerA && layer_b[row] === layerB;
    const rows = Uint32Array.from({ length: pairs.count }, (_, row) => row).filter(here);
    const inOrder = (column) =>
      [...new Set(rows.map((row) => column[row]))].sort((p, q) => pairs.neurons[p].channel - pairs.neurons[q].channel);
    const [down, across] = [inOrder(a), inOrder(b)];
    const [placeDown, placeAcross] = [down, across].map((ids) => new Map(ids.map((id, place) => [id, place])));
    const found = cells((row) => (here(row) ? placeDown.get(a[row]) * across.length + placeAcross.get(b[row]) : null));

    const width = Math.min(byId("map-page").clientWidth, 1400);
    const cell = Math.max(CELL.least, Math.min(CELL.most, Math.floor(width / Math.max(1, across.length))));
    const canvas = element("canvas", { width: across.length * cell, height: down.length * cell, tabIndex: 0 });
    canvas.setAttribute("role", "application");
    canvas.setAttribute(
      "aria-label",
      `Channels of ${pairs.layers[layerA]} down, of ${pairs.layers[layerB]} across; arrow keys move, Enter opens`,
    );
    const said = element("output", { className: "faint" });
    const first = found.size ? Math.min(...found.keys()) : 0;
    let cursor = [Math.floor(first / across.length), first % across.length];

    function draw() {
      const context = canvas.getContext("2d");
      const style = getComputedStyle(canvas);
      context.clearRect(0, 0, canvas.width, canvas.height);
      context.fillStyle = style.color;
      for (const [place, { share }] of found) {
        context.globalAlpha = 0.15 + 0.85 * share;
        context.fillRect(
          (place % across.length) * cell,
          Math.floor(place / across.length) * cell,
          Math.max(1, cell - 1),
          Math.max(1, cell - 1),
        );
      }
      context.globalAlpha = 1;
      context.strokeStyle = style.outlineColor;
      context.lineWidth = 2;
      context.strokeRect(cursor[1] * cell + 1, cursor[0] * cell + 1, Math.max(2, cell - 2), Math.max(2, cell - 2));
    }

    function moveTo(y, x) {
      cursor = [Math.max(0, Math.min(down.length - 1, y)), Math.max(0, Math.min(across.length - 1, x))];
      const one = found.get(cursor[0] * across.length + cursor[1]);
      const [from, to] = [pairs.neurons[down[cursor[0]]], pairs.neurons[across[cursor[1]]]];
      const facts = one ? `: ${isthmus.pairsIn(one.count)}, ${isthmus.short(one.mean)}` : ": no pair";
      said.replaceChildren(isthmus.inWords(from), " to ", isthmus.inWords(to), facts);
      draw();
    }

    function open() {
      const one = found.get(cursor[0] * across.length + cursor[1]);
      if (!one) return;
      const [from, to] = [pairs.neurons[down[cursor[0]]], pairs.neurons[across[cursor[1]]]];
      if (one.count === 1) location.hash = isthmus.address.to("pair", pairs.key(one.row));
      else location.hash = isthmus.address.toGrid({ text: `${from.name} ${to.name}` });
    }

    const under = (event) => [Math.floor(event.offsetY / cell), Math.floor(event.offsetX / cell)];
    canvas.addEventListener("pointermove", (event) => moveTo(...under(event)));
    canvas.addEventListener("click", (event) => {
      moveTo(...under(event));
      open();
    });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (step) moveTo(cursor[0] + step[0], cursor[1] + step[1]);
      else if (event.key === "Enter") open();
      else return;
      event.preventDefault();
    });

    const back = element("a", { href: isthmus.address.to("map"), textContent: "All layers" });
    const title = element(
      "span",
      {},
      isthmus.quoted(pairs.layers[layerA]),
      " by ",
      isthmus.quoted(pairs.layers[layerB]),
    );
    byId("map-title").replaceChildren(title);
    byId("matrix").replaceChildren(
      element("p", { className: "line" }, back, said),
      element("div", { className: "scroll" }, canvas),
    );
    moveTo(...cursor);
    return `${pairs.layers[layerA]} by ${pairs.layers[layerB]}`;
  }

  return { show };
})();
