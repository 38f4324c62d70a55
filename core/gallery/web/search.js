"use strict";

// Searching: the pairs that the reader's choices leave, sorted.
isthmus.search = (() => {
  const { filter, pairs } = isthmus;
  const { FIELDS, LISTS, SCORES, VIEWS, OTHERS, STATUSES, active, keysIn, range, rowsOfKeys, wordsIn } = filter;
  const orders = new Map(); // name of a sort order -> all rows, sorted

  // A text may name a class of photographs, if the atlas has any.
  const isReady = (chosen) => !(chosen.text && isthmus.assets.has("photographs")) || Boolean(isthmus.photographs?.album.classes);

  async function ready(chosen) {
    if (!isReady(chosen)) await isthmus.assets.load("photographs");
  }

  // Return the rows of the pairs that pass all filters, sorted; and for each list of values the number of pairs that
  // each value would leave, while all other filters stay as they are, or null until the names are loaded.
  function apply(chosen) {
    const all = order(chosen.sort, Boolean(chosen.reverse));
    const hasNames = pairs.isLoaded(pairs.names);
    if (!hasNames && active(chosen).length === 0) return { rows: all, counts: null };
    const refusals = new Uint8Array(pairs.count); // number of filters that refuse a row
    const refusing = new Uint8Array(pairs.count); // the last such filter, by its place in FIELDS
    for (const name of active(chosen)) {
      const passes = test(name, chosen[name]);
      const place = FIELDS.indexOf(name);
      for (let row = 0; row < refusals.length; row++) {
        if (passes(row)) continue;
        refusals[row]++;
        refusing[row] = place;
      }
    }
    const counts = hasNames ? {} : null;
    for (const [name, values] of Object.entries(hasNames ? LISTS : {}))
      counts[name] = countOf(name, values.length, refusals, refusing);
    const rows = new Uint32Array(all.length);
    let found = 0;
    for (let place = 0; place < all.length; place++) if (refusals[all[place]] === 0) rows[found++] = all[place];
    return { rows: rows.subarray(0, found), counts };
  }

  function countOf(name, values, refusals, refusing) {
    const counts = new Uint32Array(values);
    const column = pairs.columns[name];
    const own = FIELDS.indexOf(name);
    for (let row = 0; row < column.length; row++) {
      if (refusals[row] === 0 || (refusals[row] === 1 && refusing[row] === own)) counts[column[row]]++;
    }
    return counts;
  }

  // Compute the sort orders that a reader may choose, one at a time when the browser is idle.
  function prepare() {
    const waiting = Object.keys(pairs.SCORES).filter((name) => pairs.isLoaded([name]));
    const next = () => {
      if (waiting.length === 0) return;
      order(waiting.pop(), false);
      whenIdle(next);
    };
    whenIdle(next);
  }

  const whenIdle = window.requestIdleCallback ?? ((work) => setTimeout(work, 500));

  // Return all rows in a sort order; each order is computed once.
  function order(sort, reversed) {
    const name = `${sort} ${reversed}`;
    if (!orders.has(name)) orders.set(name, sortAll(sort, reversed));
    return orders.get(name);
  }

  function sortAll(sort, reversed) {
    const all = new Uint32Array(pairs.count);
    for (let row = 0; row < all.length; row++) all[row] = row;
    if (!sort) return reversed ? all.reverse() : all;
    return pairs.sort(all, sort, reversed);
  }

  // ---- one test for each filter

  function test(name, value) {
    const column = pairs.columns[name];
    if (name === "text") return textTest(value);
    if (name === "with") return neuronTest(value, [pairs.columns.a, pairs.columns.b]);
    if (name === "a" || name === "b") return neuronTest(value, [column]);
    if (name === "keys" || name === "favourites") return keysTest(keysIn({ [name]: value }));
    if (SCORES.includes(name)) {
      const [least, most] = range(value).map(Math.fround); // as the columns are rounded
      return (row) => column[row] >= least && column[row] <= most;
    }
    const wanted = LISTS[name].indexOf(value);
    return (row) => column[row] === wanted;
  }

  // A pair passes if every word is in the name of one of its neurons or in the reason, begins the key, or is the
  // status.
  function textTest(text) {
    const { a, b, status } = pairs.columns;
    const words = wordsIn(text);
    const found = new Uint8Array(pairs.count); // number of words found, for each row
    for (const word of words) {
      const named = Uint8Array.from(pairs.neurons, (neuron) => neuron.lower.includes(word));
      const other = new Uint8Array(pairs.count);
      for (const row of rowsOfKeys.get(word) ?? []) other[row] = 1;
      for (const [row, reason] of pairs.reasons) if (reason.toLowerCase().includes(word)) other[row] = 1;
      const wanted = STATUSES.indexOf(word);
      for (let row = 0; row < found.length; row++) {
        if (named[a[row]] || named[b[row]] || other[row] || status[row] === wanted) found[row]++;
      }
    }
    return (row) => found[row] === words.length;
  }

  // A pair passes if one of some columns has the neuron `layer:channel`, or one with this channel in any layer.
  function neuronTest(written, ends) {
    const channel = written.replace(/^:/, "");
    const named = Uint8Array.from(
      pairs.neurons,
      (neuron) => neuron.name === written || String(neuron.channel) === channel,
    );
    return (row) => ends.some((column) => named[column[row]] === 1);
  }

  function keysTest(keys) {
    const named = new Set(keys.flatMap((key) => rowsOfKeys.get(key)));
    return (row) => named.has(row);
  }

  // ---- mistakes

  // Return in words what of an address is not understood, and left out; `pages` are names that may stand in it too.
  function mistakes(parameters, pages) {
    const choices = [...FIELDS, ...OTHERS];
    const unknown = [...parameters.keys()].filter((key) => ![...pages, ...choices].includes(key));
    const wrong = choices.filter((name) => parameters.get(name) && !filter.isRight(name, parameters.get(name)));
    return [
      ...unknown.map((key) => `${JSON.stringify(key)} is not known`),
      ...wrong.map((name) => `${name}: ${whyNot(name, JSON.stringify(parameters.get(name)))}`),
    ];
  }

  function whyNot(name, got) {
    if (pairs.absent.has(name)) return "no pair of this atlas has it";
    const values = LISTS[name];
    if (values) return `expected ${values.length < 9 ? values.join(" or ") : "a name of this atlas"}, got ${got}`;
    const expected = {
      sort: SCORES.filter((score) => !pairs.absent.has(score)).join(", "),
      view: VIEWS.join(", "),
      columns: "a number from 1 to 16",
      favourites: "1",
      reverse: "1",
    };
    return `expected ${expected[name] ?? "a range such as 0.2..0.8"}, got ${got}`;
  }

  return { apply, isReady, ready, mistakes, prepare };
})();

isthmus.grid.showCounts();
