"use strict";

// The pairs. A row is a pair; rows are numbered through the whole atlas, sorted by their neurons. A neuron is a number
// too, its id; ids follow the order of the network. The index script calls isthmus.index() when the page loads; it has
// the first rows, so that the first screen needs no other data. All other values are in columns, which arrive in blocks:
// scripts that call isthmus.block(), loaded when their rows are needed. Sorting, keys and whole records are in scripts of
// their own, which the first screen does not need.
isthmus.pairs = (() => {
  const KEY = 20; // characters, 2 for each byte
  const SMALL = 250000; // pairs; all data of a smaller atlas are loaded in advance
  // The scores that this atlas offers. Scores of LATER that no pair has are removed. `bounds` are the least and the greatest possible value, null where there is none.
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
      label: "Pixel change",
      order: "Least pixel change first",
      highestFirst: false,
      meaning: "how much neighbouring frames differ: mean squared difference; the smaller, the smoother",
    },
    distance: {
      sign: "Λ",
      label: "Layer change",
      order: "Least layer change first",
      highestFirst: false,
      meaning:
        "how much neighbouring frames differ for the alignment layers, which keep landmarks in place: mean squared difference of activations; the smaller, the better they stay",
    },
    balance: {
      sign: "⇄",
      label: "Balance",
      order: "Best balanced first",
      bounds: [0, 1],
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
      bounds: [0, 1],
      highestFirst: true,
      meaning:
        "share of its greatest activation that a neuron keeps at its own end, the smaller of both neurons' shares; 1 if both keep all of it, 0 if a neuron is not excited; the larger, the better",
    },
    off_centre: {
      sign: "±",
      label: "Off centre",
      order: "Central crossing first",
      bounds: [0, 0.5],
      highestFirst: false,
      meaning:
        "distance of the crossing, the place where both neurons are equally excited, from the middle of the strip; 0 is the middle, 0.5 an end; the smaller, the more central",
    },
    pace: {
      sign: "×",
      label: "Pace",
      order: "Most even pace first",
      bounds: [1, null],
      highestFirst: false,
      meaning:
        "largest step between neighbouring frames divided by the smallest, for the alignment layers; 1 is perfectly even; the smaller, the more even",
    },
    photo_multiple: {}, // the index of an atlas with photographs has the rest
    photo_correlation: {},
  };
  const LATER = ["weaker_end", "off_centre", "pace", "photo_multiple", "photo_correlation"]; // records of older versions lack them
  const NAMES = ["a", "b", "setting", "status", "frames", "size_px", "walk", "ends"]; // every search needs them
  const TILE = ["key", ...NAMES];
  const TILE_NUMBERS = ["activation_a", "activation_b", "smoothness"];
  const STORED = ["activation_a", "activation_b", ...Object.keys(SCORES)];
  const DEAD = { a: 1, b: 2 }; // bits of the column `marks`
  const WEAK = { a: 4, b: 8 };
  const UNKNOWN = 255;
  // Values of the columns `ends` and `excited`, both made of `marks`. Both ends are strong, or the worse one is weak or
  // dead; both are excited, or not.
  const ENDS = ["strong", "weak", "dead"];
  const EXCITED = ["yes", "no"];
  const ARRAYS = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, f4: Float32Array };

  const layers = []; // names, in the order of the network
  const settings = []; // digests
  const differences = []; // of each digest, the settings that not all have in common, as text
  const neurons = []; // { id, layer, channel, name, labels, lower }, lower is what a search looks at, in lower case
  const layerOf = []; // number of the layer of each neuron
  const neuronByName = new Map();
  const reasons = new Map(); // row -> why the pair failed, as far as loaded
  const absent = new Set(); // scores and lists of values that no pair has
  const ranges = {}; // score -> [least, most]
  const columns = {}; // name -> typed array with a value for each row; NaN, or 0 in whole numbers, until it is loaded
  const groups = []; // see `index`, each with `done`: which blocks have been read
  const loads = new Map(); // path -> promise of a script that is loading or has run
  const detailDigests = []; // by number of the shard, as far as known
  const index = { pairs: 0, failed: 0, walks: 0, roads: false, lookup: [], first: 0 };
  const rowsSeen = new Map(); // key -> row, of pairs that have been shown
  let keys = new Uint8Array(); // KEY / 2 bytes a row
  const burst = { started: 0, ended: 0 }; // scripts, since none was loading

  // ---- what arrives

  isthmus.index = (given) => {
    const { pairs: count, first } = given;
    Object.assign(index, given, { first: count ? bytesIn(first.key[1]).length / (KEY / 2) : 0, isRead: true });
    for (const [list, values] of [[layers, given.layers], [settings, given.settings], [differences, given.differences]])
      list.push(...values);
    addNeurons(given.neurons, given.labels ?? {});
    keys = new Uint8Array((count * KEY) / 2);
    for (const name of ["a", "b"]) columns[name] = new Uint32Array(count);
    for (const name of ["setting", "frames", "size_px", "layer_a", "layer_b"]) columns[name] = new Uint16Array(count);
    for (const name of ["status", "walk", "marks", "ends", "excited"]) columns[name] = new Uint8Array(count);
    for (const name of STORED) columns[name] = new Float32Array(count).fill(NaN);
    for (const group of given.groups) groups.push({ ...group, done: new Set() });
    Object.assign(ranges, given.ranges);
    for (const name in given.scores) Object.assign(SCORES[name], given.scores[name]);
    for (const name of LATER) {
      if (name in ranges) continue;
      absent.add(name);
      delete SCORES[name];
    }
    if (!given.excited) ["ends", "excited"].forEach((name) => absent.add(name));
    fill(0, index.first, first);
  };

  function addNeurons(channels, labels) {
    for (const [place, layer] of layers.entries()) {
      const written = isthmus.writtenLayer(layer);
      for (const channel of channels[place]) {
        const id = neurons.length;
        const name = `${written}:${channel}`;
        const neuron = { id, layer, channel, name, labels: labels[id] ?? [] };
        neuron.lower = [name, ...neuron.labels].join("\n").toLowerCase();
        neurons.push(neuron);
        layerOf.push(place);
        neuronByName.set(name, neuron);
      }
    }
  }

  isthmus.block = (name, number, values) => {
    const group = groups.find((one) => one.name === name);
    const start = number * group.rows;
    fill(start, Math.min(index.pairs, start + group.rows), values);
    for (const [place, digest] of (values.details ?? []).entries())
      detailDigests[start / index.details.rows + place] = digest;
    group.done.add(number);
  };

  // Put values into the columns, from one row to another.
  function fill(start, end, values) {
    for (const [name, value] of Object.entries(values)) {
      const column = columns[name === "ends" ? "marks" : name];
      if (name === "key") keys.set(bytesIn(value[1]), (start * KEY) / 2);
      else if (name === "reason")
        for (const [row, reason] of Object.entries(value))
          reasons.set(start + Number(row), reason ?? "no reason was recorded");
      else if (!column) continue; // such as the digests of detail shards
      else if (Array.isArray(value)) column.set(numbersIn(value), start);
      else column.fill(value ?? NaN, start, end);
    }
    if (!("ends" in values)) return;
    const { a, b, layer_a, layer_b, marks, ends, excited } = columns;
    for (let row = start; row < end; row++) {
      layer_a[row] = layerOf[a[row]];
      layer_b[row] = layerOf[b[row]];
      const bits = marks[row];
      ends[row] = bits === UNKNOWN ? UNKNOWN : bits & (DEAD.a | DEAD.b) ? 2 : bits ? 1 : 0;
      excited[row] = bits === UNKNOWN ? UNKNOWN : Number(ends[row] === 2);
    }
  }

  const numbersIn = ([type, text]) => new ARRAYS[type](bytesIn(text).buffer);

  function bytesIn(text) {
    const packed = atob(text);
    const bytes = new Uint8Array(packed.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = packed.charCodeAt(i);
    return bytes;
  }

  // ---- loading

  // Load columns, for some rows or for all. An error has the path of the file that could not be read as its message.
  async function load(names, rows) {
    const waits = [];
    for (const group of groupsOf(names))
      for (const number of blocksOf(group, rows)) if (!group.done.has(number)) waits.push(loadBlock(group, number));
    const failed = (await Promise.allSettled(waits)).find(({ status }) => status === "rejected");
    if (failed) throw failed.reason;
  }

  const isLoaded = (names, rows) =>
    groupsOf(names).every((group) => [...blocksOf(group, rows)].every((number) => group.done.has(number)));

  const groupsOf = (names) => groups.filter((group) => group.columns.some((column) => names.includes(column)));

  function blocksOf(group, rows) {
    if (!rows) return group.digests.keys();
    const numbers = new Set();
    for (const row of rows) if (row >= index.first) numbers.add(Math.floor(row / group.rows));
    return numbers;
  }

  // Load the block of keys that a row is in, which also names the detail shards of its rows.
  function loadKeysAround(row) {
    const [group] = groupsOf(["key"]);
    return loadBlock(group, Math.floor(row / group.rows));
  }

  const loadBlock = (group, number) =>
    loadScript(dataPath(group.name, number, group.digests[number]), () => group.done.has(number));

  const dataPath = (name, number, digest) => `data/${name}-${String(number).padStart(5, "0")}-${digest}.js`;

  // Run a script once, see `runScript`.
  function loadScript(path, hasCome) {
    if (!loads.has(path)) {
      const loading = runScript(path, hasCome);
      loads.set(path, loading);
      loading.catch(() => loads.delete(path)); // so that the next call tries again
    }
    return loads.get(path);
  }

  // Run a script. `hasCome` returns whether its data are there; they are not if the file is cut short, because a browser
  // runs no part of it and reports no failure to load it.
  function runScript(path, hasCome) {
    if (burst.started === burst.ended) Object.assign(burst, { started: 0, ended: 0 });
    burst.started++;
    return new Promise((resolve, reject) => {
      const script = isthmus.element("script", { src: isthmus.source(path) });
      const end = (isRead) => {
        burst.ended++;
        script.remove();
        isRead && hasCome() ? resolve() : reject(isthmus.unread(path));
        dispatchEvent(new Event("arrival"));
      };
      script.addEventListener("load", () => end(true));
      script.addEventListener("error", () => end(false));
      document.head.append(script);
    });
  }

  // Load what tiles of some rows show; `numbers` are the columns of their numbers.
  const loadTiles = (rows, numbers = TILE_NUMBERS) => load([...TILE, ...numbers], rows);

  // Load what the next search will need, one block after the other: first the names, then, unless the atlas is large,
  // everything.
  async function loadInAdvance() {
    const wanted = groups.filter((group) => index.pairs <= SMALL || group.columns.includes("a"));
    wanted.sort((p, q) => q.columns.includes("a") - p.columns.includes("a"));
    for (const group of wanted) {
      for (const number of group.digests.keys()) {
        if (!group.done.has(number)) await loadBlock(group, number);
      }
    }
  }

  // ---- one pair

  function key(row) {
    let text = "";
    for (const byte of keys.subarray((row * KEY) / 2, ((row + 1) * KEY) / 2)) text += byte.toString(16).padStart(2, "0");
    rowsSeen.set(text, row);
    return text;
  }

  // Return a pair, as far as its columns are loaded.
  function at(row) {
    const pair = { row, key: key(row), a: neurons[columns.a[row]], b: neurons[columns.b[row]] };
    pair.failed = columns.status[row] === 1;
    pair.reason = reasons.get(row);
    pair.setting = differences[columns.setting[row]]; // what differs from other pairs, as text, if anything does
    pair.name = `${pair.a.name} to ${pair.b.name}`;
    for (const name of ["frames", "size_px", ...STORED]) pair[name] = columns[name][row];
    pair.dead = ["a", "b"].filter((end) => isDead(row, end));
    pair.weak = ["a", "b"].filter((end) => isWeak(row, end));
    return pair;
  }

  const marked = (row, bit) => columns.marks[row] !== UNKNOWN && (columns.marks[row] & bit) > 0;

  // Return whether nothing that was rendered excites the neuron at an end, "a" or "b", more than noise does.
  const isDead = (row, end) => marked(row, DEAD[end]);

  // Return whether a neuron that is alive keeps less than half of its reach at its own end, or is not excited there.
  const isWeak = (row, end) => marked(row, WEAK[end]);

  // Return whether a pair is a road: its strip is finished, and begins and ends on portraits.
  const isRoad = (row) => columns.walk[row] === 1 && columns.status[row] === 0;

  const hasRoads = () => index.roads;

  return {
    SCORES,
    ENDS,
    EXCITED,
    names: NAMES,
    tile: TILE,
    tileNumbers: TILE_NUMBERS,
    absent,
    ranges,
    load,
    isLoaded,
    loadTiles,
    loadInAdvance,
    at,
    key,
    isDead,
    isWeak,
    isRoad,
    hasRoads,
    columns,
    layers,
    settings,
    differences,
    neurons,
    neuronByName,
    reasons,
    rowsSeen,
    index,
    burst,
    dataPath,
    loadScript,
    runScript,
    loadKeysAround,
    numbersIn,
    detailDigests,
    get count() {
      return index.pairs;
    },
  };
})();
