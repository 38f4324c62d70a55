"use strict";

// Sorting of rows by a score.
(() => {
  const { pairs } = isthmus;
  let ranks = new Uint32Array(); // of each row, used while sorting

  // Return rows sorted by a score, the best first, or the worst first if `reversed`. Rows without a value come last
  // either way; equal ones stay in their sequence. The bits of a value become a whole number that sorts like it, and
  // these are sorted by 11 bits at a time, which takes a fraction of the time of sorting by a function.
  pairs.sort = (rows, score, reversed = false) => {
    const values = pairs.columns[score];
    const bits = new Uint32Array(values.buffer);
    const falling = pairs.SCORES[score].highestFirst !== reversed;
    let [known, sorted] = [new Uint32Array(rows.length), new Uint32Array(rows.length)];
    const unknown = [];
    if (ranks.length < values.length) ranks = new Uint32Array(values.length);
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
  };
})();
