"use strict";

// The pairs that pass the filters as a file of comma-separated values: one line a pair, in the sequence of the grid.
isthmus.csv = (() => {
  const { element, grid, pairs } = isthmus;
  const ROWS_AT_ONCE = 5000; // the page stays alive between them
  const COLUMNS = ["key", "a", "b", "status"];

  // Download the file. Return the number of its pairs.
  async function download() {
    const rows = [...grid.rows()];
    const scores = Object.keys(pairs.SCORES);
    await pairs.load([...pairs.names, "key", ...scores], rows);
    const parts = [`${[...COLUMNS, ...scores, "settings", "sheet"].join(",")}\r\n`];
    for (let start = 0; start < rows.length; start += ROWS_AT_ONCE) {
      parts.push(
        rows
          .slice(start, start + ROWS_AT_ONCE)
          .map((row) => lineOf(row, scores))
          .join(""),
      );
      await new Promise((resolve) => setTimeout(resolve));
    }
    const name = document.body.dataset.name.replace(/[^A-Za-z0-9_.-]+/g, "-").replace(/^[-.]+/, "");
    const href = URL.createObjectURL(new Blob(parts, { type: "text/csv" }));
    element("a", { href, download: `${name || "atlas"}_pairs.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(href), 60_000); // ms; a browser may ask the reader first
    return rows.length;
  }

  function lineOf(row, scores) {
    const pair = pairs.at(row);
    const setting = pairs.columns.setting[row];
    const values = [
      pair.key,
      pair.a.name,
      pair.b.name,
      pair.failed ? "failed" : "done",
      ...scores.map((score) => pairs.columns[score][row]),
      pairs.differences[setting] || pairs.settings[setting],
      pair.failed ? "" : isthmus.sheetPath(pair.key),
    ];
    return `${values.map(cell).join(",")}\r\n`;
  }

  // Write a value. A spreadsheet must not take a text for a formula, so an apostrophe precedes its first sign.
  function cell(value) {
    if (typeof value === "number") return Number.isNaN(value) ? "" : String(Number(value.toPrecision(6)));
    const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  return { download };
})();
