"use strict";

// Roads: finished strips between portraits. Each joins two places; a place is a neuron in some settings, because only
// strips of the same settings have the same portraits.
isthmus.roads = (() => {
  const { element, pairs } = isthmus;
  const { a, b, setting, smoothness } = pairs.columns;
  const SUGGESTED = 20; // neurons
  const neurons = pairs.neurons.length;

  const placeOf = (neuron, setting) => setting * neurons + neuron;
  const neuronAt = (place) => pairs.neurons[place % neurons];
  const settingAt = (place) => Math.floor(place / neurons);
  const otherEnd = (row, place) => placeOf(a[row] === place % neurons ? b[row] : a[row], setting[row]);

  // The rows of a place's roads are rows[starts[place]] to rows[starts[place + 1] - 1].
  const starts = new Uint32Array(neurons * pairs.settings.length + 1);
  eachEnd((place) => starts[place + 1]++);
  for (let place = 1; place < starts.length; place++) starts[place] += starts[place - 1];
  const rows = new Uint32Array(starts.at(-1));
  const filled = starts.slice();
  eachEnd((place, row) => (rows[filled[place]++] = row));

  function eachEnd(visit) {
    for (let row = 0; row < pairs.count; row++) {
      if (!pairs.isRoad(row)) continue;
      visit(placeOf(a[row], setting[row]), row);
      visit(placeOf(b[row], setting[row]), row);
    }
  }

  const number = (place) => starts[place + 1] - starts[place];

  // The roads of a place, the most similar neuron first.
  const from = (place) => pairs.sort(rows.subarray(starts[place], starts[place + 1]), "distance");

  const isJoined = (place, other) => from(place).some((row) => otherEnd(row, place) === other);

  // Places of a neuron that have roads: in the settings that the reader has chosen, else where there are most roads first.
  function placesOf(neuron) {
    if (!neuron) return [];
    const chosen = pairs.settings.indexOf(isthmus.grid.chosen().setting);
    const all = pairs.settings.map((_, setting) => placeOf(neuron.id, setting)).filter(number);
    const within = all.filter((place) => settingAt(place) === chosen);
    return within.length ? within : all.sort((p, q) => number(q) - number(p));
  }

  // The place with the most roads.
  function busiest() {
    let best = 0;
    for (let place = 1; place < starts.length - 1; place++) if (number(place) > number(best)) best = place;
    return best;
  }

  // ---- one of them

  // A strip as it is walked from a place: from which neuron to which, at the place where it ends.
  function leg(row, place) {
    const pair = pairs.at(row);
    const isForward = pair.a === neuronAt(place);
    const [from, to] = isForward ? [pair.a, pair.b] : [pair.b, pair.a];
    return { row, pair, isForward, from, to, end: otherEnd(row, place) };
  }

  // The number in its strip of a leg's frame, both from 0.
  const numberIn = ({ pair, isForward }, frame) => (isForward ? frame : pair.frames - 1 - frame);

  const frameOf = (leg, frame) =>
    isthmus.frameOf(isthmus.previewPath(leg.pair.key), leg.pair, numberIn(leg, frame), "");

  // ---- the shortest road

  // From neuron to neuron, in whichever settings it is shortest: the place it starts from and its rows, or nothing.
  function shortest(neuron, target) {
    const found = placesOf(neuron)
      .map((place) => between(place, placeOf(target.id, settingAt(place))))
      .filter(Boolean);
    return found.sort((p, q) => p.rows.length - q.rows.length || p.difference - q.difference)[0];
  }

  // Fewest strips, and of as many the smallest sum of their frames' differences. Places are reached in the order of how
  // many strips it takes, so the best sum of each is known before it is gone on from.
  function between(place, target) {
    const strips = new Int32Array(starts.length - 1).fill(-1);
    const differences = new Float64Array(starts.length - 1);
    const arrivals = new Uint32Array(starts.length - 1); // the row by which each is reached
    let reached = [place];
    strips[place] = 0;
    while (reached.length && strips[target] < 0) {
      const next = [];
      for (const here of reached) {
        for (let i = starts[here]; i < starts[here + 1]; i++) {
          const there = otherEnd(rows[i], here);
          const difference = differences[here] + (smoothness[rows[i]] || 0);
          if (strips[there] < 0) {
            strips[there] = strips[here] + 1;
            differences[there] = Infinity;
            next.push(there);
          }
          if (strips[there] > strips[here] && difference < differences[there]) {
            differences[there] = difference;
            arrivals[there] = rows[i];
          }
        }
      }
      reached = next;
    }
    if (strips[target] < 0) return null;
    const along = [];
    for (let here = target; here !== place; here = otherEnd(arrivals[here], here)) along.unshift(arrivals[here]);
    return { place, rows: along, difference: differences[target] };
  }

  // ---- neurons in addresses and fields

  const code = (textContent) => element("code", { textContent });

  // Why one cannot walk from one of these neurons, in words; nothing where one can.
  function whyNot(names) {
    if (!pairs.hasRoads())
      return [
        "The strips of this atlas do not meet, so there is no road to go along. A spec with ",
        code("strip: walk"),
        " makes an atlas in which they do.",
      ];
    const unknown = names.find((name) => placesOf(pairs.neuronByName.get(name)).length === 0);
    if (unknown === undefined) return null;
    return ["No strip that one could walk along begins at ", isthmus.quoted(unknown), " in this atlas."];
  }

  // `mixed4a:476..12..mixed4b:3`: a neuron of the same layer as the one before it is its channel only.
  const write = (along) =>
    along.map(({ layer, channel, name }, i) => (layer === along[i - 1]?.layer ? channel : name)).join("..");

  // The names in such a text.
  function read(text) {
    let layer = "";
    return text
      .split("..")
      .filter(Boolean)
      .map((part) => {
        const name = /^\d+$/.test(part) ? `${layer}:${part}` : part;
        layer = name.slice(0, name.lastIndexOf(":"));
        return name;
      });
  }

  // Have a field suggest neurons that have roads.
  function suggest(field) {
    const update = () => {
      const typed = field.value.trim().toLowerCase();
      const found = [];
      for (const neuron of pairs.neurons) {
        if (neuron.lower.includes(typed) && placesOf(neuron).length) found.push(neuron);
        if (found.length === SUGGESTED) break;
      }
      field.list.replaceChildren(...found.map(({ name }) => element("option", { value: name })));
    };
    for (const event of ["focus", "input"]) field.addEventListener(event, update);
  }

  return {
    placeOf,
    neuronAt,
    settingAt,
    from,
    isJoined,
    placesOf,
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
