"use strict";

// The pairs. A row is a pair; rows are numbered through the whole atlas, sorted by their neurons. A neuron is a number
// too, its id; ids follow the order of the network. The index script calls isthmus.index() when the page loads; it has
// the first rows, so that the first screen needs no other data. All other values are in columns, which arrive in blocks:
// scripts that call isthmus.block(), loaded when their rows are needed. A detail shard has whole records, and calls
// isthmus.details(). A lookup script leads from keys to rows, and calls isthmus.lookup().
isthmus.pairs = (() => {
  const KEY = 20; // characters, 2 for each byte
  const LOOKED_UP = 8; // characters of a key that lookup scripts have, as a number
  const DETAILS_KEPT = 3; // shards of whole records in memory
  const SMALL = 250000; // pairs; all data of a smaller atlas are loaded in advance
  // The scores that this atlas offers. Scores that no pair has, because all records are of older versions, are removed.
  // `bounds` are the least and the greatest possible value, null where there is none.
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
  };
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
  const lookups = new Map(); // number -> [keys, rows]
  const details = new Map(); // path of a detail shard -> promise of its lines, the most recently used shard last
  const lines = new Map(); // script element of a detail shard -> its lines
  const detailDigests = []; // by number of the shard, as far as known
  const index = { pairs: 0, failed: 0, walks: 0, roads: false, lookup: [], first: 0 };
  let keys = new Uint8Array(); // KEY / 2 bytes a row
  let ranks = null; // used while sorting
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
    for (const name of Object.keys(SCORES)) {
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

  isthmus.lookup = (number, ...lists) => lookups.set(number, lists.map((list) => numbersIn(list)));

  isthmus.details = (texts) => lines.set(document.currentScript, texts);

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
  function load(names, rows) {
    const waits = [];
    for (const group of groupsOf(names))
      for (const number of blocksOf(group, rows)) if (!group.done.has(number)) waits.push(loadBlock(group, number));
    return Promise.all(waits);
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

  const loadBlock = (group, number) => loadScript(dataPath(group.name, number, group.digests[number]));

  const dataPath = (name, number, digest) => `data/${name}-${String(number).padStart(5, "0")}-${digest}.js`;

  // Run a script once. `result` is called with its element when it has run.
  function loadScript(path, result = () => true) {
    if (!loads.has(path)) {
      const loading = runScript(path, result);
      loads.set(path, loading);
      loading.catch(() => loads.delete(path)); // so that the next call tries again
    }
    return loads.get(path);
  }

  function runScript(path, result) {
    if (burst.started === burst.ended) Object.assign(burst, { started: 0, ended: 0 });
    burst.started++;
    return new Promise((resolve, reject) => {
      const script = isthmus.element("script", { src: path });
      const end = (found) => {
        burst.ended++;
        script.remove();
        found ? resolve(found) : reject(new Error(path));
        dispatchEvent(new Event("arrival"));
      };
      script.addEventListener("load", () => end(result(script)));
      script.addEventListener("error", () => end(null));
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
    return text;
  }

  // Return the row of a key, or -1.
  async function rowOfKey(wanted) {
    return wanted.length === KEY ? ((await rowsOfKeys(wanted))[0] ?? -1) : -1;
  }

  // Return the rows of all keys that begin with a text of at least LOOKED_UP - 2 hexadecimal digits.
  async function rowsOfKeys(start) {
    if (!/^[0-9a-f]{6,20}$/.test(start) || index.pairs === 0) return [];
    const [least, most] = ["0", "f"].map((digit) => parseInt(start.slice(0, LOOKED_UP).padEnd(LOOKED_UP, digit), 16));
    const bucket = (number) => Math.floor((number * index.lookup.length) / 2 ** 32);
    const found = [];
    for (let number = bucket(least); number <= bucket(most); number++) {
      await loadScript(dataPath("lookup", number, index.lookup[number]));
      const [numbers, rows] = lookups.get(number);
      for (let place = firstAt(numbers, least); numbers[place] <= most; place++) found.push(rows[place]);
    }
    if (start.length <= LOOKED_UP) return found;
    await load(["key"], found);
    return found.filter((row) => key(row).startsWith(start));
  }

  // Return the first place in rising numbers whose number is not smaller than the wanted one.
  function firstAt(numbers, wanted) {
    let [low, high] = [0, numbers.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (numbers[middle] < wanted) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  // Return a pair, as far as its columns are loaded.
  function at(row) {
    const pair = { row, key: key(row), a: neurons[columns.a[row]], b: neurons[columns.b[row]] };
    pair.failed = columns.status[row] === 1;
    pair.reason = reasons.get(row);
    pair.name = `${pair.a.name} to ${pair.b.name}`;
    for (const name of ["frames", "size_px", ...STORED]) pair[name] = columns[name][row];
    pair.dead = ["a", "b"].filter((end) => isDead(row, end));
    pair.weak = ["a", "b"].filter((end) => isWeak(row, end));
    return pair;
  }

  // Return the rows of all pairs of a neuron.
  function rowsOf(neuron) {
    const rows = [];
    for (let row = 0; row < index.pairs; row++)
      if (columns.a[row] === neuron.id || columns.b[row] === neuron.id) rows.push(row);
    return rows;
  }

  const marked = (row, bit) => columns.marks[row] !== UNKNOWN && (columns.marks[row] & bit) > 0;

  // Return whether nothing that was rendered excites the neuron at an end, "a" or "b", more than noise does.
  const isDead = (row, end) => marked(row, DEAD[end]);

  // Return whether a neuron that is alive keeps less than half of its reach at its own end, or is not excited there.
  const isWeak = (row, end) => marked(row, WEAK[end]);

  // Return whether a pair is a road: its strip is finished, and begins and ends on portraits.
  const isRoad = (row) => columns.walk[row] === 1 && columns.status[row] === 0;

  const hasRoads = () => index.roads;

  // Return rows sorted by a score, the best first, or the worst first if `reversed`. Rows without a value come last
  // either way; equal ones stay in their sequence. The bits of a value become a whole number that sorts like it, and
  // these are sorted by 11 bits at a time, which takes a fraction of the time of sorting by a function.
  function sort(rows, score, reversed = false) {
    const values = columns[score];
    const bits = new Uint32Array(values.buffer);
    const falling = SCORES[score].highestFirst !== reversed;
    let [known, sorted] = [new Uint32Array(rows.length), new Uint32Array(rows.length)];
    const unknown = [];
    ranks ??= new Uint32Array(index.pairs);
    let count = 0;
    for (const row of rows) {
      if (Number.isNaN(values[row])) {
        unknown.push(row);
        continue;
      }
      const rising = bits[row] >>> 31 ? ~bits[row] >>> 0 : (bits[row] | 0x80000000) >>> 0; // negative float, or not
      ranks[row] = falling ? ~rising >>> 0 : rising;
      known[count++] = row;
    }
    for (const shift of [0, 11, 22]) {
      const starts = new Uint32Array(2049);
      for (let i = 0; i < count; i++) starts[((ranks[known[i]] >>> shift) & 2047) + 1]++;
      for (let i = 1; i < starts.length; i++) starts[i] += starts[i - 1];
      for (let i = 0; i < count; i++) sorted[starts[(ranks[known[i]] >>> shift) & 2047]++] = known[i];
      [known, sorted] = [sorted, known];
    }
    known.set(unknown, count);
    return known;
  }

  // ---- whole records

  // Load the record of a row and return its line. An error has the path of the file that could not be read as its
  // message.
  async function line(row) {
    const [group] = groupsOf(["key"]); // its blocks name the detail shards
    await loadBlock(group, Math.floor(row / group.rows));
    const number = Math.floor(row / index.details.rows);
    const path = dataPath("detail", number, detailDigests[number]);
    const found = details.get(path) ?? runScript(path, takeLines);
    details.delete(path);
    details.set(path, found);
    found.catch(() => details.delete(path)); // so that the next call tries again
    if (details.size > DETAILS_KEPT) details.delete(details.keys().next().value);
    return (await found)[row % index.details.rows];
  }

  function takeLines(script) {
    const texts = lines.get(script);
    lines.delete(script);
    return texts;
  }

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
    rowOfKey,
    rowsOfKeys,
    rowsOf,
    isDead,
    isWeak,
    isRoad,
    hasRoads,
    sort,
    line,
    columns,
    layers,
    settings,
    differences,
    neurons,
    neuronByName,
    reasons,
    index,
    burst,
    get count() {
      return index.pairs;
    },
  };
})();
