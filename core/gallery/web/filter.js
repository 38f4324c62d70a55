"use strict";

// Filtering and sorting of the pairs. The reader's choices are a plain object of texts, as they stand in the address. A
// filter that is not set is absent.
isthmus.filter = (() => {
  const { pairs } = isthmus;
  const STATUSES = ["done", "failed"];
  // Fields with a list of values. The column has the place of a pair's value in the list, or NaN if it is unknown.
  const LISTS = {
    layer_a: pairs.layers,
    layer_b: pairs.layers,
    status: STATUSES,
    setting: pairs.settings,
    excited: pairs.EXCITED,
  };
  const FIELDS = ["text", "with", ...Object.keys(LISTS), ...Object.keys(pairs.SCORES)];
  const orders = new Map(); // name of a sort order -> all rows, sorted

  // Return the choices in an address, or in any map of texts, always in the same sequence.
  function read(parameters) {
    const chosen = {};
    for (const name of [...FIELDS, "sort", "reverse", "columns"])
      if (parameters.get(name) && !pairs.absent.has(name)) chosen[name] = parameters.get(name);
    if (!(chosen.sort in pairs.SCORES)) delete chosen.sort;
    return chosen;
  }

  const active = (chosen) => FIELDS.filter((name) => name in chosen);

  // Return the rows of the pairs that pass all filters, sorted; and for each list of values the number of pairs that
  // each value would leave, while all other filters stay as they are.
  function apply(chosen) {
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
    const counts = {};
    for (const [name, values] of Object.entries(LISTS)) counts[name] = countOf(name, values.length, refusals, refusing);
    const all = order(chosen.sort, Boolean(chosen.reverse));
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
    const waiting = Object.keys(pairs.SCORES);
    const next = () => {
      order(waiting.pop(), false);
      if (waiting.length) whenIdle(next);
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
    if (name === "with") return neuronTest(value);
    if (name in pairs.SCORES) {
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
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const found = new Uint8Array(pairs.count); // number of words found, for each row
    for (const word of words) {
      const named = Uint8Array.from(pairs.neurons, (neuron) => neuron.lower.includes(word));
      const other = new Uint8Array(pairs.count);
      if (/^[0-9a-f]+$/.test(word)) for (const row of pairs.rowsOfKeys(word)) other[row] = 1;
      for (const [row, reason] of pairs.reasons) if (reason.toLowerCase().includes(word)) other[row] = 1;
      const wanted = STATUSES.indexOf(word);
      for (let row = 0; row < found.length; row++) {
        if (named[a[row]] || named[b[row]] || other[row] || status[row] === wanted) found[row]++;
      }
    }
    return (row) => found[row] === words.length;
  }

  // A pair passes if one of its neurons is `layer:channel`, or has this channel in any layer.
  function neuronTest(written) {
    const { a, b } = pairs.columns;
    const channel = written.replace(/^:/, "");
    const named = Uint8Array.from(
      pairs.neurons,
      (neuron) => neuron.name === written || String(neuron.channel) === channel,
    );
    return (row) => named[a[row]] === 1 || named[b[row]] === 1;
  }

  // Read `0.3..0.8`; either end may be missing.
  function range(written) {
    const [least, most] = written.split("..").map((part) => (part?.trim() ? Number(part) : NaN));
    return [Number.isNaN(least) ? -Infinity : least, Number.isNaN(most ?? NaN) ? Infinity : most];
  }

  return { FIELDS, LISTS, read, active, apply, range, prepare };
})();
