"use strict";

// From a key, or the beginning of one, to rows. A lookup script has a part of all keys, and calls isthmus.lookup().
(() => {
  const { pairs } = isthmus;
  const KEY = 20; // characters
  const LOOKED_UP = 8; // characters of a key that lookup scripts have, as a number
  const lookups = new Map(); // number -> [keys, rows]

  isthmus.lookup = (number, ...lists) => lookups.set(number, lists.map(pairs.numbersIn));

  // Return the row of a key, or -1.
  pairs.rowOfKey = async (wanted) => {
    if (wanted.length !== KEY) return -1;
    return pairs.rowsSeen.get(wanted) ?? (await pairs.rowsOfKeys(wanted))[0] ?? -1;
  };

  // Return the rows of all keys that begin with a text of at least LOOKED_UP - 2 hexadecimal digits.
  pairs.rowsOfKeys = async (start) => {
    if (!/^[0-9a-f]{6,20}$/.test(start) || pairs.count === 0) return [];
    const [least, most] = ["0", "f"].map((digit) => parseInt(start.slice(0, LOOKED_UP).padEnd(LOOKED_UP, digit), 16));
    const bucket = (number) => Math.floor((number * pairs.index.lookup.length) / 2 ** 32);
    const found = [];
    for (let number = bucket(least); number <= bucket(most); number++) {
      const path = pairs.dataPath("lookup", number, pairs.index.lookup[number]);
      await pairs.loadScript(path, () => lookups.has(number));
      const [numbers, rows] = lookups.get(number);
      for (let place = firstAt(numbers, least); numbers[place] <= most; place++) found.push(rows[place]);
    }
    if (start.length <= LOOKED_UP) return found;
    await pairs.load(["key"], found);
    return found.filter((row) => pairs.key(row).startsWith(start));
  };

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

  // Return the rows of all pairs of a neuron.
  pairs.rowsOf = (neuron) => {
    const { a, b } = pairs.columns;
    const rows = [];
    for (let row = 0; row < pairs.count; row++)
      if (a[row] === neuron.id || b[row] === neuron.id) rows.push(row);
    return rows;
  };
})();
