"use strict";

// The cells of the matrix: the pairs of two layers or of two neurons, with their number and the mean of a score. A cell
// is a whole number; its place is its index in the lists of this object.
isthmus.cells = (() => {
  const { pairs } = isthmus;
  const LEAST_SPAN = 0.25; // of the largest magnitude; a scale is not stretched over smaller differences

  // Gather rows into cells by the number that `cellOf` gives for a row. Without a score the number of pairs is the mean.
  // `shares` are 0 for the worst and 1 for the best of the scale, NaN where no pair of the cell has the score.
  function gather(rows, cellOf, score) {
    const places = new Map(); // cell -> place
    const [counts, known, sums, first] = [[], [], [], []]; // known: pairs with the score; first: row of the first pair
    const values = score ? pairs.columns[score] : null;
    for (const row of rows) {
      const cell = cellOf(row);
      let place = places.get(cell);
      if (place === undefined) {
        place = counts.length;
        places.set(cell, place);
        counts.push(0);
        known.push(0);
        sums.push(0);
        first.push(row);
      }
      counts[place]++;
      if (values === null || Number.isNaN(values[row])) continue;
      known[place]++;
      sums[place] += values[row];
    }
    const means = values === null ? counts : sums.map((sum, place) => (known[place] ? sum / known[place] : NaN));
    const scale = scaleOf(score, means);
    const shares = means.map((mean) => (mean - scale.worst) / (scale.best - scale.worst));
    return { places, counts, means, shares, first, scale, unknown: means.filter(Number.isNaN).length };
  }

  // Return the worst and the best value of the scale, and the least and the greatest mean. The scale has the natural
  // bounds of the score where there are such; other ends are those of the means.
  function scaleOf(score, means) {
    const [least, most] = extent(means.filter((mean) => !Number.isNaN(mean)));
    const [lower, upper] = (score ? pairs.SCORES[score].bounds : [0, null]) ?? [null, null];
    let [low, high] = [lower ?? least, upper ?? most];
    const short = (LEAST_SPAN * Math.max(Math.abs(low), Math.abs(high)) || 1) - (high - low);
    if (short > 0) {
      const below = lower === null ? (upper === null ? short / 2 : short) : 0;
      [low, high] = [low - below, high + short - below];
    }
    const isRising = !score || pairs.SCORES[score].highestFirst;
    return { worst: isRising ? low : high, best: isRising ? high : low, least, most };
  }

  // Return the least and the greatest of some numbers; a million arguments are too many for Math.min.
  const extent = (numbers) =>
    numbers.reduce(([least, most], one) => [Math.min(least, one), Math.max(most, one)], [Infinity, -Infinity]);

  return { gather };
})();
