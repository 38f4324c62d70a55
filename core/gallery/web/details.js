"use strict";

// Whole records. A detail script has those of a few hundred rows, as lines of JSON, and calls isthmus.details().
(() => {
  const { pairs } = isthmus;
  const KEPT = 3; // detail scripts whose lines stay in memory
  const shards = new Map(); // number -> promise of its lines, the most recently used last
  let arrived = null; // lines of a script that has just run

  isthmus.details = (lines) => (arrived = lines);

  // Load the record of a row and return its line. An error has the path of the file that could not be read as its
  // message.
  pairs.line = async (row) => {
    const { rows } = pairs.index.details;
    const number = Math.floor(row / rows);
    const found = shards.get(number) ?? load(row, number);
    shards.delete(number);
    shards.set(number, found);
    found.catch(() => shards.delete(number)); // so that the next call tries again
    if (shards.size > KEPT) shards.delete(shards.keys().next().value);
    return (await found)[row % rows];
  };

  async function load(row, number) {
    await pairs.loadKeysAround(row);
    await pairs.runScript(pairs.dataPath("detail", number, pairs.detailDigests[number]), () => arrived);
    const lines = arrived; // of this script, because no other runs between its end and this line
    arrived = null;
    return lines;
  }
})();
