"use strict";

// Which pairs are shown, in which order. What the reader has chosen is a plain object of texts, the same that stands in
// the address; a filter that is not set is not in it.
isthmus.filter = (() => {
  const { pairs } = isthmus;
  const FIELDS = ["text", "with", "layer_a", "layer_b", "status", "setting", ...Object.keys(pairs.SCORES)];
  const STATUSES = ["done", "failed"];
  const orders = new Map(); // name of an order -> all rows in it

  // What of an address, or of any map of texts, is a choice; always in the same order.
  function read(parameters) {
    const chosen = {};
    for (const name of [...FIELDS, "sort", "reverse", "columns"]) if (parameters.get(name)) chosen[name] = parameters.get(name);
    if (!(chosen.sort in pairs.SCORES)) delete chosen.sort;
    return chosen;
  }

  const active = (chosen) => FIELDS.filter((name) => name in chosen);

  // Rows of the pairs that pass, in the chosen order, and how many would be left for each value of a list: counted for
  // one list at a time, with all other filters in force.
  function apply(chosen) {
    const tests = active(chosen).map((name) => ({ name, passes: test(name, chosen[name]) }));
    const facets = [
      facet("layer_a", pairs.columns.layer_a, pairs.layers.length),
      facet("layer_b", pairs.columns.layer_b, pairs.layers.length),
      facet("status", pairs.columns.status, STATUSES.length),
      facet("setting", pairs.columns.setting, pairs.settings.length),
    ];
    const rows = new Uint32Array(pairs.count);
    let found = 0;
    for (const row of order(chosen.sort, Boolean(chosen.reverse))) {
      let refusing = null;
      let refusals = 0;
      for (const one of tests) {
        if (one.passes(row)) continue;
        refusing = one.name;
        if (++refusals > 1) break;
      }
      if (refusals > 1) continue;
      for (const { name, column, counts } of facets) if (refusals === 0 || refusing === name) counts[column[row]]++;
      if (refusals === 0) rows[found++] = row;
    }
    return { rows: rows.subarray(0, found), counts: Object.fromEntries(facets.map(({ name, counts }) => [name, counts])) };
  }

  const facet = (name, column, values) => ({ name, column, counts: new Uint32Array(values) });

  // All rows in an order; each is computed once.
  function order(sort, reversed) {
    const name = `${sort} ${reversed}`;
    if (!orders.has(name)) orders.set(name, ordered(sort, reversed));
    return orders.get(name);
  }

  function ordered(sort, reversed) {
    const all = Uint32Array.from({ length: pairs.count }, (_, row) => row);
    if (!sort) return reversed ? all.reverse() : all;
    const [known, unknown] = pairs.sort(all, sort, reversed);
    all.set(known);
    all.set(unknown, known.length);
    return all;
  }

  // ---- one test for each filter

  function test(name, value) {
    const column = pairs.columns[name];
    if (name === "text") return textTest(value);
    if (name === "with") return neuronTest(value);
    if (name in pairs.SCORES) {
      const [least, most] = range(value);
      return (row) => column[row] >= least && column[row] <= most;
    }
    const wanted = { layer_a: pairs.layers, layer_b: pairs.layers, status: STATUSES, setting: pairs.settings }[name].indexOf(value);
    return (row) => column[row] === wanted;
  }

  // Every word is in the name of a neuron or in the reason, begins the key, or is the status.
  function textTest(text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const tests = words.map((word) => {
      const named = Uint8Array.from(pairs.neurons, (neuron) => lower(neuron).includes(word));
      const status = STATUSES.indexOf(word);
      const maybeKey = /^[0-9a-f]{1,20}$/.test(word);
      return (row) =>
        named[pairs.columns.a[row]] === 1 ||
        named[pairs.columns.b[row]] === 1 ||
        pairs.columns.status[row] === status ||
        (maybeKey && pairs.startsWith(row, word)) ||
        (pairs.reasons.get(row)?.toLowerCase().includes(word) ?? false);
    });
    return (row) => tests.every((passes) => passes(row));
  }

  const lower = (neuron) => (neuron.lower ??= neuron.name.toLowerCase());

  // `layer:channel`, or a channel of any layer.
  function neuronTest(written) {
    const channel = written.replace(/^:/, "");
    const named = Uint8Array.from(pairs.neurons, (neuron) => neuron.name === written || String(neuron.channel) === channel);
    return (row) => named[pairs.columns.a[row]] === 1 || named[pairs.columns.b[row]] === 1;
  }

  // `0.3..0.8`, either of them optional.
  function range(written) {
    const [least, most] = written.split("..").map((part) => (part?.trim() ? Number(part) : NaN));
    return [Number.isNaN(least) ? -Infinity : least, Number.isNaN(most ?? NaN) ? Infinity : most];
  }

  return { FIELDS, STATUSES, read, active, apply, range };
})();
