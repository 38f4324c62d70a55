"use strict";

// Roads: finished strips between two portraits. They are the edges of a graph whose nodes are the portraits. A neuron
// has one portrait for each settings digest, because only strips of the same settings share their portraits. A portrait
// is the number setting * neurons + neuron. A leg is a road in one of its directions; a route is a path of roads.
isthmus.roads = (() => {
  const { element, pairs } = isthmus;
  const { a, b, setting, smoothness } = pairs.columns;
  const LISTED = 12; // neurons in a sentence
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

  // Return the rows of a portrait's roads, those with the least layer change first.
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

  // Return the portrait with the most roads, in the settings that the reader has chosen if it has roads there.
  function busiest() {
    const chosen = pairs.settings.indexOf(isthmus.grid.chosen().setting);
    const rank = (portrait) => numberOfRoads(portrait) * (settingOf(portrait) === chosen ? rows.length + 1 : 1);
    let best = 0;
    for (let portrait = 1; portrait < starts.length - 1; portrait++) if (rank(portrait) > rank(best)) best = portrait;
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

  // Create an image of a leg's frame; `onMissing` is called if its file cannot be read, see isthmus.picture.
  const frameOf = (leg, frame, onMissing) =>
    isthmus.frameOf(isthmus.previewPath(leg.pair.key), leg.pair, numberIn(leg, frame), "", onMissing);

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

  // ---- examples of routes

  // Return the portraits that roads join to one, nearest first; it is the first itself.
  function reachedFrom(start) {
    const reached = new Set([start]);
    for (const here of reached)
      for (let i = starts[here]; i < starts[here + 1]; i++) reached.add(otherEnd(rows[i], here));
    return [...reached];
  }

  // Return the two ends of a long route: from a neuron, or else any. The ends of the very longest would take too long.
  function longRoute(neuron) {
    if (neuron) return [neuron, neuronOf(reachedFrom(portraitsOf(neuron)[0]).at(-1))];
    const end = reachedFrom(busiest()).at(-1);
    return [end, reachedFrom(end).at(-1)].map(neuronOf);
  }

  // Return the two ends of a route at random, which has more than one strip if there is such.
  function randomRoute() {
    const one = (list) => list[Math.floor(Math.random() * list.length)];
    const row = one(withinSettings());
    const start = portraitOf(one([a, b])[row], setting[row]);
    const others = reachedFrom(start).slice(1);
    const near = new Set(from(start).map((road) => otherEnd(road, start)));
    const further = others.filter((portrait) => !near.has(portrait));
    return [start, one(further.length ? further : others)].map(neuronOf);
  }

  // Return the rows of the roads in the settings that the reader has chosen, or of all.
  function withinSettings() {
    const chosen = pairs.settings.indexOf(isthmus.grid.chosen().setting);
    const within = rows.filter((row) => setting[row] === chosen);
    return within.length ? within : rows;
  }

  // ---- neurons that have roads

  const hasRoads = (neuron) => portraitsOf(neuron).length > 0;

  const code = (textContent) => element("code", { textContent });

  // Return why there is no walk or route between neurons, in words, or null if there may be one. `page` is the page on
  // which they are named; `read` is what names.read has made of the names.
  function whyNot(page, read) {
    if (!pairs.hasRoads())
      return [
        "The strips of this atlas do not meet, so there are no roads to walk along. A spec with ",
        code("strip: walk"),
        " makes an atlas whose strips meet.",
      ];
    const unclear = read.find(({ found }) => found.length !== 1);
    if (!unclear) return null;
    const { written, found } = unclear;
    const layer = found.length === 0 && isthmus.names.withoutChannel(written, (neuron) => neuron.id >= 0 && hasRoads(neuron));
    if (layer) return layer;
    if (found.length === 0)
      return [isthmus.quoted(written), " has no road in this atlas: no finished strip joins it to another neuron."];
    const links = found.slice(0, LISTED).flatMap((neuron, i) => {
      const meant = read.map((one) => (one === unclear ? neuron.name : one.written));
      const href = isthmus.address.to(page, isthmus.joinNames(meant));
      return [i ? ", " : "", element("a", { href }, isthmus.inWords(neuron))];
    });
    const more = found.length > LISTED ? `, and ${isthmus.whole(found.length - LISTED)} more` : "";
    return [isthmus.quoted(written), ` may be one of ${found.length} neurons: `, ...links, `${more}.`];
  }

  return {
    find,
    portraitOf,
    neuronOf,
    settingOf,
    otherEnd,
    from,
    isJoined,
    portraitsOf,
    busiest,
    leg,
    numberIn,
    frameOf,
    shortest,
    shortestBetween,
    longRoute,
    randomRoute,
    hasRoads,
    code,
    whyNot,
  };
})();
