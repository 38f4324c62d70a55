"use strict";

// The places of the land: a grid of square cells, one for each neuron of a layer, row by row. The land's data script
// calls isthmus.land(). Lengths are pixels of the whole picture, x to the right and y down, from its top left corner.
isthmus.places = (() => {
  const { pairs } = isthmus;
  const INNER = 0.25; // cells from a centre, as far as a place belongs to one neuron; its activation is measured there
  const places = { neurons: [], count: 0, strips: [] };

  isthmus.land = (data) => {
    const channels = [data.channels].flat();
    const { rows, columns, cell_px } = data;
    Object.assign(places, { ...data, count: channels.length, width: columns * cell_px, height: rows * cell_px });
    const written = isthmus.writtenLayer(data.layer);
    places.neurons = channels.map((channel, number) => {
      const name = `${written}:${channel}`;
      const labels = data.labels?.[number] ?? [];
      const lower = [name, ...labels].join("\n").toLowerCase();
      return pairs.neuronByName.get(name) ?? { id: -1, layer: data.layer, channel, name, labels, lower };
    });
    places.numbers = new Map(places.neurons.map(({ channel }, number) => [channel, number]));
    for (const name of ["activation", "compared", "dead", "noise"])
      places[name] = Array.isArray(data[name]) ? data[name] : Array(channels.length).fill(data[name] ?? null);
    Object.assign(places, { stripsAt: new Uint32Array(places.count), rowOf: new Map(), strips: [] });
    places.known = pairs.load(pairs.names).then(findStrips); // the page shows a load that fails elsewhere
    places.known.catch(() => {});
    isthmus.ran["data/land"] = 1;
  };

  // Find the strips between two neurons of the land, [number, number, row of the pair], once their names are loaded;
  // `rowOf` leads from two numbers, written as one, to the row, and `stripsAt` counts the strips of each neuron.
  function findStrips() {
    const numberOf = new Int32Array(pairs.neurons.length).fill(-1);
    places.neurons.forEach(({ id }, number) => id >= 0 && (numberOf[id] = number));
    const { a, b, status } = pairs.columns;
    for (let row = 0; row < pairs.count; row++) {
      const [from, to] = [numberOf[a[row]], numberOf[b[row]]];
      for (const number of [from, to]) if (number >= 0) places.stripsAt[number]++;
      if (from < 0 || to < 0 || status[row] !== 0) continue;
      places.strips.push([from, to, row]);
      places.rowOf.set(both(from, to), row);
    }
  }

  const both = (one, other) => Math.min(one, other) * places.count + Math.max(one, other);

  // Return the row of a finished pair of two neurons, or undefined.
  places.stripOf = (one, other) => places.rowOf.get(both(one, other));

  places.rowAndColumn = (number) => [Math.floor(number / places.columns), number % places.columns];

  places.centre = (number) => {
    const [row, column] = places.rowAndColumn(number);
    return { x: (column + 0.5) * places.cell_px, y: (row + 0.5) * places.cell_px };
  };

  // Return the number of the neuron at a place. A place outside belongs to the nearest one inside; where the last row
  // is not full, the land continues the neuron above.
  places.numberAt = (row, column) => {
    const inside = (place, places) => Math.max(0, Math.min(places - 1, place));
    const number = inside(row, places.rows) * places.columns + inside(column, places.columns);
    return number < places.count ? number : number - places.columns;
  };

  places.numberUnder = (x, y) => places.numberAt(Math.floor(y / places.cell_px), Math.floor(x / places.cell_px));

  // Return the neurons that share a point, [number, share], the largest share first. Shares are bilinear between the
  // centres of the four nearest places, and sum to 1.
  places.sharesAt = (x, y) => {
    const [[row, down], [column, right]] = [
      [y, places.rows],
      [x, places.columns],
    ].map(([at, cells]) => {
      const place = Math.max(0, Math.min(cells - 1, at / places.cell_px - 0.5));
      return [Math.floor(place), place - Math.floor(place)];
    });
    const shares = new Map();
    for (const [dy, vertical] of [1 - down, down].entries())
      for (const [dx, horizontal] of [1 - right, right].entries()) {
        const number = places.numberAt(row + dy, column + dx);
        shares.set(number, (shares.get(number) ?? 0) + vertical * horizontal);
      }
    return [...shares].filter(([, share]) => share > 0).sort((p, q) => q[1] - p[1] || p[0] - q[0]);
  };

  // Return whether a point is in the inner part of the place of a neuron.
  places.isInner = (number, { x, y }) => {
    const centre = places.centre(number);
    return Math.max(Math.abs(x - centre.x), Math.abs(y - centre.y)) <= INNER * places.cell_px;
  };

  // Return the number of the neuron that is written `layer:channel`, `:channel` or `channel`, or undefined.
  places.find = (written) => {
    const text = written.trim();
    if (/^:?\d{1,15}$/.test(text)) return places.numbers?.get(Number(text.replace(":", "")));
    const number = places.neurons.findIndex(({ name }) => name === text);
    return number >= 0 ? number : undefined;
  };

  return places;
})();
