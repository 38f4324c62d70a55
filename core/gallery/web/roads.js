"use strict";

// Roads: finished strips between two portraits. They are the edges of a graph whose nodes are the portraits. A neuron
// has one portrait for each settings digest, because only strips of the same settings share their portraits. A portrait
// is the number setting * neurons + neuron. A leg is a road in one of its directions; a route is a path of roads.
isthmus.roads = (() => {
  const { element, pairs } = isthmus;
  const { a, b, setting, smoothness } = pairs.columns;
  const SUGGESTED = 20; // neurons in the list of a field
  const neurons = pairs.neurons.length;

  const portraitOf = (neuron, setting) => setting * neurons + neuron;
  const neuronOf = (portrait) => pairs.neurons[portrait % neurons];
  const settingOf = (portrait) => Math.floor(portrait / neurons);
  const otherEnd = (row, portrait) => portraitOf(a[row] === portrait % neurons ? b[row] : a[row], setting[row]);

  // The rows of a portrait's roads are rows[starts[portrait]] to rows[starts[portrait + 1] - 1]. They are found by
  // `find`, once the names of all pairs are loaded.
  const starts = new Uint32Array(neurons * pairs.settings.length + 1);
  let rows = null;

  function find() {
    if (rows) return;
    eachEnd((portrait) => starts[portrait + 1]++);
    for (let portrait = 1; portrait < starts.length; portrait++) starts[portrait] += starts[portrait - 1];
    rows = new Uint32Array(starts.at(-1));
    const filled = starts.slice();
    eachEnd((portrait, row) => (rows[filled[portrait]++] = row));
  }

  function eachEnd(visit) {
    for (let row = 0; row < pairs.count; row++) {
      if (!pairs.isRoad(row)) continue;
      visit(portraitOf(a[row], setting[row]), row);
      visit(portraitOf(b[row], setting[row]), row);
    }
  }

  const numberOfRoads = (portrait) => starts[portrait + 1] - starts[portrait];

  // Return the rows of a portrait's roads, the most similar neuron first.
  const from = (portrait) => pairs.sort(rows.subarray(starts[portrait], starts[portrait + 1]), "distance");

  const isJoined = (portrait, other) => from(portrait).some((row) => otherEnd(row, portrait) === other);

  // Return the portraits of a neuron that have roads: the one in the settings that the reader has chosen, or if it has
  // none, all of them, those with most roads first.
  function portraitsOf(neuron) {
    if (!neuron) return [];
    const chosen = pairs.settings.indexOf(isthmus.grid.chosen().setting);
    const all = pairs.settings.map((_, setting) => portraitOf(neuron.id, setting)).filter(numberOfRoads);
    const within = all.filter((portrait) => settingOf(portrait) === chosen);
    return within.length ? within : all.sort((p, q) => numberOfRoads(q) - numberOfRoads(p));
  }

  // Return the portrait with the most roads.
  function busiest() {
    let best = 0;
    for (let portrait = 1; portrait < starts.length - 1; portrait++)
      if (numberOfRoads(portrait) > numberOfRoads(best)) best = portrait;
    return best;
  }

  // ---- one road

  // Return a road in the direction in which it leaves a portrait: its neurons `from` and `to`, and the portrait at its
  // end.
  function leg(row, portrait) {
    const pair = pairs.at(row);
    const isForward = pair.a === neuronOf(portrait);
    const [from, to] = isForward ? [pair.a, pair.b] : [pair.b, pair.a];
    return { row, pair, isForward, from, to, end: otherEnd(row, portrait) };
  }

  // Return the number in its strip of a leg's frame, both counted from 0.
  const numberIn = ({ pair, isForward }, frame) => (isForward ? frame : pair.frames - 1 - frame);

  const frameOf = (leg, frame) =>
    isthmus.frameOf(isthmus.previewPath(leg.pair.key), leg.pair, numberIn(leg, frame), "");

  // ---- the shortest route

  // Return the shortest route between two neurons, in the settings in which it is shortest: the portrait that it starts
  // from, the rows of its roads, and the sum of their differences; or undefined.
  function shortest(neuron, target) {
    const found = portraitsOf(neuron)
      .map((start) => shortestBetween(start, portraitOf(target.id, settingOf(start))))
      .filter(Boolean);
    return found.sort((p, q) => p.rows.length - q.rows.length || p.difference - q.difference)[0];
  }

  // Return the route between two portraits with the fewest roads, and of several such routes the one with the smallest
  // sum of differences between neighbouring frames; or null. The search is breadth first: when it continues from
  // a portrait, that portrait's smallest sum is known.
  function shortestBetween(start, target) {
    const roads = new Int32Array(starts.length - 1).fill(-1); // to each portrait; -1 until it is reached
    const differences = new Float64Array(starts.length - 1);
    const arrivals = new Uint32Array(starts.length - 1); // the row of the road by which each is reached
    let reached = [start];
    roads[start] = 0;
    while (reached.length && roads[target] < 0) {
      const next = [];
      for (const here of reached) {
        for (let i = starts[here]; i < starts[here + 1]; i++) {
          const there = otherEnd(rows[i], here);
          const difference = differences[here] + (smoothness[rows[i]] || 0);
          if (roads[there] < 0) {
            roads[there] = roads[here] + 1;
            differences[there] = Infinity;
            next.push(there);
          }
          if (roads[there] > roads[here] && difference < differences[there]) {
            differences[there] = difference;
            arrivals[there] = rows[i];
          }
        }
      }
      reached = next;
    }
    if (roads[target] < 0) return null;
    const along = [];
    for (let here = target; here !== start; here = otherEnd(arrivals[here], here)) along.unshift(arrivals[here]);
    return { start, rows: along, difference: differences[target] };
  }

  // ---- neurons in addresses and fields

  const code = (textContent) => element("code", { textContent });

  // Return why there is no walk or route from these neurons, in words, or null if there may be one.
  function whyNot(names) {
    if (!pairs.hasRoads())
      return [
        "The strips of this atlas do not meet, so there are no roads to walk along. A spec with ",
        code("strip: walk"),
        " makes an atlas whose strips meet.",
      ];
    const unknown = names.find((name) => portraitsOf(pairs.neuronByName.get(name)).length === 0);
    if (unknown === undefined) return null;
    return [isthmus.quoted(unknown), " has no road in this atlas: no finished strip joins it to another neuron."];
  }

  // Write neurons as `mixed4a:476..12..mixed4b:3`: a neuron in the layer of the one before it is its channel only.
  const write = (along) =>
    isthmus.joinNames(along.map(({ layer, channel, name }, i) => (layer === along[i - 1]?.layer ? channel : name)));

  // Return the names in a text that `write` has made.
  function read(text) {
    let layer = "";
    return text
      .split("..")
      .filter(Boolean)
      .map((part) => part.replaceAll("%2E", ".").replaceAll("%25", "%"))
      .map((part) => {
        const name = /^\d+$/.test(part) ? `${layer}:${part}` : part;
        layer = name.slice(0, name.lastIndexOf(":"));
        return name;
      });
  }

  // Let a field suggest neurons that have roads.
  function suggest(field) {
    const update = () => {
      const typed = field.value.trim().toLowerCase();
      const found = [];
      for (const neuron of pairs.neurons) {
        if (neuron.lower.includes(typed) && portraitsOf(neuron).length) found.push(neuron);
        if (found.length === SUGGESTED) break;
      }
      field.list.replaceChildren(...found.map(({ name }) => element("option", { value: name })));
    };
    for (const event of ["focus", "input"]) field.addEventListener(event, update);
  }

  return {
    find,
    portraitOf,
    neuronOf,
    settingOf,
    from,
    isJoined,
    portraitsOf,
    busiest,
    leg,
    numberIn,
    frameOf,
    shortest,
    code,
    whyNot,
    write,
    read,
    suggest,
  };
})();
