"use strict";

// The pairs. Index shards call isthmus.data() while the page loads, and are joined into columns of numbers. A row is a
// pair; rows are numbered through all shards. A neuron is a number too, its id. A detail shard has whole records; it is
// loaded when one of them is shown, and calls isthmus.details().
isthmus.pairs = (() => {
  const KEY = 20; // characters
  const MOST_ROWS = 2 ** 21; // 32 bits of a value and 21 of a row fit into the 53 bits of an exact float
  const DETAILS_KEPT = 3; // shards of whole records in memory
  // The scores that this atlas offers. join() removes scores that no pair has because all records are of older versions.
  const SCORES = {
    activation: {
      label: "Activation",
      order: "Most active first",
      highestFirst: true,
      meaning:
        "how strongly the ends excite their neurons: mean of a's activation on the first frame and b's on the last",
    },
    smoothness: {
      sign: "Δ",
      label: "Smoothness",
      order: "Smoothest first",
      highestFirst: false,
      meaning: "how much neighbouring frames differ: mean squared difference; the smaller, the smoother",
    },
    distance: {
      sign: "≈",
      label: "Similarity",
      order: "Most similar first",
      highestFirst: false,
      meaning:
        "how much neighbouring frames differ for the alignment layers, which keep landmarks in place: mean squared difference of activations; the smaller, the more similar",
    },
    balance: {
      sign: "⇄",
      label: "Balance",
      order: "Best balanced first",
      highestFirst: true,
      meaning:
        "how equally the frames excite both neurons: 1 − mean |a − b|, each activation as a share of its greatest; 1 if every frame excites both equally, 0 if each excites only one",
    },
    objective: {
      sign: "↑",
      label: "Objective",
      order: "Highest objective first",
      highestFirst: true,
      meaning:
        "last value of what the optimizer maximises: activations of a and b, mixed from frame to frame, less a penalty for landmarks that move",
    },
    weaker_end: {
      sign: "≥",
      label: "Weaker end",
      order: "Best weaker end first",
      highestFirst: true,
      meaning:
        "share of its greatest activation that a neuron keeps at its own end, the smaller of both neurons' shares; 1 if both keep all of it, 0 if a neuron is not excited; the larger, the better",
    },
    off_centre: {
      sign: "±",
      label: "Off centre",
      order: "Central crossing first",
      highestFirst: false,
      meaning:
        "distance of the crossing, the place where both neurons are equally excited, from the middle of the strip; 0 is the middle, 0.5 an end; the smaller, the more central",
    },
    pace: {
      sign: "×",
      label: "Pace",
      order: "Most even pace first",
      highestFirst: false,
      meaning:
        "largest step between neighbouring frames divided by the smallest, for the alignment layers; 1 is perfectly even; the smaller, the more even",
    },
  };
  const LATER = ["weaker_end", "off_centre", "pace", "excited"]; // columns that records of older versions lack
  const STORED = [
    "activation_a",
    "activation_b",
    "smoothness",
    "distance",
    "balance",
    "objective",
    "weaker_end",
    "pace",
  ];
  const DEAD = { a: 1, b: 2 }; // bits of the column `dead`
  const EXCITED = ["yes", "no"]; // values of the column `excited`: whether both neurons are

  const shards = []; // in the sequence of their scripts, each with the row that it starts at
  const arrived = new Set(); // script elements of the index shards that have run
  const layers = []; // names
  const settings = []; // digests
  const neurons = []; // { id, layer, channel, name, lower }, lower is the name in lower case
  const neuronByName = new Map();
  const reasons = new Map(); // row -> why the pair failed
  const absent = new Set(); // columns of LATER that no pair has
  const columns = {}; // name -> typed array with a value for each row
  const details = new Map(); // path of a detail shard -> promise of its lines, the most recently used shard last
  const lines = new Map(); // script element of a detail shard -> its lines
  let count = 0;

  isthmus.data = (shard) => {
    arrived.add(document.currentScript);
    shards.push({ ...shard, start: count });
    count += shard.pairs;
  };

  isthmus.details = (texts) => lines.set(document.currentScript, texts);

  // ---- columns

  function join() {
    Object.assign(columns, { a: new Uint32Array(count), b: new Uint32Array(count) });
    Object.assign(columns, { layer_a: new Uint16Array(count), layer_b: new Uint16Array(count) });
    Object.assign(columns, { status: new Uint16Array(count), frames: new Uint8Array(count) });
    Object.assign(columns, { size_px: new Uint16Array(count), setting: new Uint16Array(count) });
    for (const name of ["walk", "dead"]) columns[name] = new Uint8Array(count);
    for (const name of [...STORED, ...LATER, "activation"]) columns[name] = new Float32Array(count);
    const ids = new Map(); // layer and channel as one number -> neuron
    for (const shard of shards) joinShard(shard, ids);
    for (let row = 0; row < count; row++) {
      columns.activation[row] = (columns.activation_a[row] + columns.activation_b[row]) / 2;
    }
    for (const name of LATER) {
      if (!columns[name].every(Number.isNaN)) continue;
      absent.add(name);
      delete SCORES[name];
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
    fill("off_centre", shard.crossing, (place) => (place === null ? NaN : Math.abs(place - 0.5)));
    fill("dead", shard.dead, (bits) => bits ?? 0);
    fill("excited", shard.dead, (bits) => (bits === null ? NaN : Number(bits > 0)));
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
      const name = `${isthmus.writtenLayer(layers[layer])}:${channel}`;
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
    for (const name of ["frames", "size_px", ...STORED, "off_centre"]) pair[name] = columns[name][row];
    pair.dead = ["a", "b"].filter((end) => isDead(row, end));
    return pair;
  }

  // Return the rows of all keys that begin with a text.
  function rowsOfKeys(start) {
    const rows = [];
    for (const shard of shards) {
      for (let at = shard.keys.indexOf(start); at >= 0; at = shard.keys.indexOf(start, at + 1)) {
        if (at % KEY === 0) rows.push(shard.start + at / KEY); // a match must begin at the start of a key
      }
    }
    return rows;
  }

  // Return the rows of all pairs of a neuron.
  function rowsOf(neuron) {
    const rows = [];
    for (let row = 0; row < count; row++)
      if (columns.a[row] === neuron.id || columns.b[row] === neuron.id) rows.push(row);
    return rows;
  }

  // Return whether nothing that was rendered excites the neuron at an end, "a" or "b", more than noise does.
  const isDead = (row, end) => (columns.dead[row] & DEAD[end]) > 0;

  // Return whether a pair is a road: its strip is finished, and begins and ends on portraits.
  const isRoad = (row) => columns.walk[row] === 1 && columns.status[row] === 0;

  const hasRoads = () => columns.walk.some((_, row) => isRoad(row));

  // Return rows sorted by a score, the best first, or the worst first if `reversed`. Failed pairs have no value and
  // come last either way. Each value becomes a whole number that sorts like it and has the row in its low digits,
  // because sorting numbers takes a fraction of the time of sorting by a function.
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
      const rising = bits[row] >>> 31 ? ~bits[row] >>> 0 : (bits[row] | (2 ** 31)) >>> 0; // negative float, or not
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

  // Load the record of a row and return its line. An error has the path of the file that could not be read as its
  // message.
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
        const texts = lines.get(script);
        lines.delete(script);
        script.remove();
        texts ? resolve(texts) : fail();
      });
      script.addEventListener("error", fail);
      document.head.append(script);

      function fail() {
        script.remove();
        details.delete(path); // so that the next call tries again
        reject(new Error(path));
      }
    });
  }

  // Return the paths of the index shards that the page names but that have not run, and the number of all index shards.
  function missing() {
    const named = [...document.querySelectorAll("script[data-shard]")];
    return [named.filter((script) => !arrived.has(script)).map((script) => script.getAttribute("src")), named.length];
  }

  return {
    SCORES,
    EXCITED,
    absent,
    join,
    at,
    key,
    rowOfKey,
    rowsOfKeys,
    rowsOf,
    isDead,
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
