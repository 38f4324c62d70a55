"use strict";

// The pairs. Index shards call isthmus.data() while the page loads, and become columns of numbers: a row is a pair, in
// the order of the shards, and a neuron a number too. A detail shard, which calls isthmus.details(), has whole records
// and is loaded when one of them is shown.
isthmus.pairs = (() => {
  const KEY = 20; // characters
  const MOST_ROWS = 2 ** 21; // what a sortable number has room for
  const DETAILS_KEPT = 3; // shards of whole records in memory
  const SCORES = {
    activation: {
      label: "Activation",
      order: "Most active first",
      highestFirst: true,
      meaning: "mean of the activation of a on the first frame and of b on the last",
    },
    smoothness: {
      sign: "Δ",
      label: "Smoothness",
      order: "Smoothest first",
      highestFirst: false,
      meaning: "mean squared difference of neighbouring frames; the smaller, the smoother",
    },
    distance: {
      sign: "≈",
      label: "Similarity",
      order: "Most similar first",
      highestFirst: false,
      meaning:
        "mean squared difference of neighbouring frames' activations in the alignment layers; the smaller, the more alike",
    },
    balance: {
      sign: "⇄",
      label: "Balance",
      order: "Best balanced first",
      highestFirst: true,
      meaning:
        "1 − mean |a − b| over the frames, each activation as a share of its greatest; 1 where every frame excites both neurons alike",
    },
    objective: {
      sign: "↑",
      label: "Objective",
      order: "Highest objective first",
      highestFirst: true,
      meaning: "the objective's last value",
    },
  };
  const STORED = ["activation_a", "activation_b", "smoothness", "distance", "balance", "objective"];

  const shards = []; // as they came, each with the row that it starts at
  const arrived = new Set(); // the script elements of index shards whose data came
  const layers = []; // names
  const settings = []; // digests
  const neurons = []; // { id, layer, channel, name, lower }
  const neuronByName = new Map();
  const reasons = new Map(); // row -> why the pair has failed
  const columns = {}; // of all shards, by name
  const details = new Map(); // path of a detail shard -> promise of its lines, the last used one last
  const lines = new Map(); // script element of a detail shard -> its lines
  let count = 0;

  isthmus.data = (shard) => {
    arrived.add(document.currentScript);
    shards.push({ ...shard, start: count });
    count += shard.pairs;
  };

  isthmus.details = (few) => lines.set(document.currentScript, few);

  // ---- columns

  function join() {
    Object.assign(columns, { a: new Uint32Array(count), b: new Uint32Array(count) });
    Object.assign(columns, { layer_a: new Uint16Array(count), layer_b: new Uint16Array(count) });
    Object.assign(columns, { status: new Uint16Array(count), frames: new Uint8Array(count) });
    Object.assign(columns, { size_px: new Uint16Array(count), setting: new Uint16Array(count) });
    columns.walk = new Uint8Array(count);
    for (const name of [...STORED, "activation"]) columns[name] = new Float32Array(count);
    const ids = new Map(); // layer and channel as one number -> neuron
    for (const shard of shards) joinShard(shard, ids);
    for (let row = 0; row < count; row++) {
      columns.activation[row] = (columns.activation_a[row] + columns.activation_b[row]) / 2;
    }
  }

  function joinShard(shard, ids) {
    const { start, pairs } = shard;
    const layerIds = shard.layers.map((layer) => idOf(layers, layer));
    const settingIds = shard.settings.map((digest) => idOf(settings, digest));
    const fill = (name, from, value) => {
      const column = columns[name];
      if (!Array.isArray(from)) return void column.fill(value(from), start, start + pairs);
      for (let row = 0; row < pairs; row++) column[start + row] = value(from[row]);
    };
    const same = (value) => value;
    fill("layer_a", shard.a_layer, (layer) => layerIds[layer]);
    fill("layer_b", shard.b_layer, (layer) => layerIds[layer]);
    fill("a", shard.a_channel, same);
    fill("b", shard.b_channel, same);
    fill("setting", shard.setting, (setting) => settingIds[setting]);
    for (const name of ["status", "frames", "size_px", "walk"]) fill(name, shard[name], same);
    for (const name of STORED) fill(name, shard[name], (value) => value ?? NaN);
    for (let row = start; row < start + pairs; row++) {
      columns.a[row] = neuronId(ids, columns.layer_a[row], columns.a[row]);
      columns.b[row] = neuronId(ids, columns.layer_b[row], columns.b[row]);
    }
    for (const [row, reason] of Object.entries(shard.reason))
      reasons.set(start + Number(row), reason ?? "no reason was recorded");
  }

  function idOf(list, value) {
    const found = list.indexOf(value);
    return found >= 0 ? found : list.push(value) - 1;
  }

  function neuronId(ids, layer, channel) {
    const written = layer * 2 ** 32 + channel;
    let id = ids.get(written);
    if (id === undefined) {
      const name = `${layers[layer]}:${channel}`;
      const neuron = { id: neurons.length, layer: layers[layer], channel, name, lower: name.toLowerCase() };
      neurons.push(neuron);
      neuronByName.set(neuron.name, neuron);
      ids.set(written, (id = neuron.id));
    }
    return id;
  }

  // ---- one pair

  const shardOf = (row) => shards.findLast((shard) => shard.start <= row);

  function key(row) {
    const shard = shardOf(row);
    const at = (row - shard.start) * KEY;
    return shard.keys.slice(at, at + KEY);
  }

  function rowOfKey(wanted) {
    return wanted.length === KEY ? (rowsOfKeys(wanted)[0] ?? -1) : -1;
  }

  function at(row) {
    const pair = { row, key: key(row), a: neurons[columns.a[row]], b: neurons[columns.b[row]] };
    pair.failed = columns.status[row] === 1;
    pair.reason = reasons.get(row);
    pair.name = `${pair.a.name} to ${pair.b.name}`;
    for (const name of ["frames", "size_px", ...STORED]) pair[name] = columns[name][row];
    return pair;
  }

  // Rows of all keys that begin so.
  function rowsOfKeys(start) {
    const rows = [];
    for (const shard of shards) {
      for (let at = shard.keys.indexOf(start); at >= 0; at = shard.keys.indexOf(start, at + 1)) {
        if (at % KEY === 0) rows.push(shard.start + at / KEY); // never from the middle of a key
      }
    }
    return rows;
  }

  // All pairs of a neuron.
  function rowsOf(neuron) {
    const rows = [];
    for (let row = 0; row < count; row++)
      if (columns.a[row] === neuron.id || columns.b[row] === neuron.id) rows.push(row);
    return rows;
  }

  // Whether one can walk along a strip: it is finished, and begins and ends on portraits.
  const isRoad = (row) => columns.walk[row] === 1 && columns.status[row] === 0;

  const hasRoads = () => columns.walk.some((_, row) => isRoad(row));

  // Rows sorted by a score, the best first; pairs without a value, the failed ones, come last either way. Each value
  // becomes a whole number of the same order, with the row behind it: sorting numbers takes a fraction of the time of
  // sorting by a function.
  function sort(rows, score, reversed = false) {
    const values = columns[score];
    const bits = new Uint32Array(values.buffer);
    const falling = SCORES[score].highestFirst !== reversed;
    const known = new Float64Array(rows.length);
    const unknown = [];
    let count = 0;
    for (const row of rows) {
      if (Number.isNaN(values[row])) {
        unknown.push(row);
        continue;
      }
      const rising = bits[row] >>> 31 ? ~bits[row] >>> 0 : (bits[row] | (2 ** 31)) >>> 0; // of a negative float, or not
      known[count++] = (falling ? 2 ** 32 - 1 - rising : rising) * MOST_ROWS + row;
    }
    const sorted = new Uint32Array(rows.length);
    sorted.set(
      known
        .subarray(0, count)
        .sort()
        .map((number) => number % MOST_ROWS),
    );
    sorted.set(unknown, count);
    return sorted;
  }

  // ---- whole records

  // The record of a row, as its line; fails with the path of the file that could not be read.
  async function line(row) {
    const shard = shardOf(row);
    const path = shard.details[Math.floor((row - shard.start) / shard.pairs_per_detail)];
    const found = details.get(path) ?? loadDetails(path);
    details.delete(path);
    details.set(path, found);
    if (details.size > DETAILS_KEPT) details.delete(details.keys().next().value);
    return (await found)[(row - shard.start) % shard.pairs_per_detail];
  }

  function loadDetails(path) {
    return new Promise((resolve, reject) => {
      const script = isthmus.element("script", { src: path });
      script.addEventListener("load", () => {
        const few = lines.get(script);
        lines.delete(script);
        script.remove();
        few ? resolve(few) : fail();
      });
      script.addEventListener("error", fail);
      document.head.append(script);

      function fail() {
        script.remove();
        details.delete(path); // so that it can be tried again
        reject(new Error(path));
      }
    });
  }

  // Index shards that are named by the page but did not come.
  function missing() {
    const named = [...document.querySelectorAll("script[data-shard]")];
    return [named.filter((script) => !arrived.has(script)).map((script) => script.getAttribute("src")), named.length];
  }

  return {
    SCORES,
    join,
    at,
    key,
    rowOfKey,
    rowsOfKeys,
    rowsOf,
    isRoad,
    hasRoads,
    sort,
    line,
    missing,
    columns,
    layers,
    settings,
    neurons,
    neuronByName,
    reasons,
    get count() {
      return count;
    },
  };
})();
