"use strict";

// The reader's choices of pairs: filters, sort order and view. They are a plain object of texts, as they stand in the
// address. A filter that is not set is absent. search.js finds the pairs.
isthmus.filter = (() => {
  const { pairs } = isthmus;
  const STATUSES = ["done", "failed"];
  // Fields with a list of values. The column has the place of a pair's value in the list, or NaN if it is unknown.
  const LISTS = {
    layer_a: pairs.layers,
    layer_b: pairs.layers,
    status: STATUSES,
    setting: pairs.settings,
    ends: pairs.ENDS,
    excited: pairs.EXCITED,
  };
  const SCORES = Object.keys(pairs.SCORES); // all that this version knows; an atlas may lack some
  const FIELDS = ["text", "with", "a", "b", "keys", "favourites", ...Object.keys(LISTS), ...SCORES];
  const VIEWS = ["filmstrip", "tile", "list"];
  const OTHERS = ["sort", "reverse", "view", "columns"]; // choices that leave no pair out
  const SWITCHES = ["favourites", "reverse"]; // 1 or absent
  const KEY_PREFIX = /^[0-9a-f]{6,20}$/; // a word of a search that may begin a key
  const rowsOfKeys = new Map(); // beginning of a key -> rows

  // Return whether the value of a choice can be understood.
  function isRight(name, value) {
    if (pairs.absent.has(name)) return false;
    if (SCORES.includes(name)) return isRange(value);
    if (name in LISTS) return LISTS[name].includes(value);
    if (name === "sort") return SCORES.includes(value) && !pairs.absent.has(value);
    if (name === "view") return VIEWS.includes(value);
    if (name === "columns") return value >= 1 && value <= 16;
    return value === "1" || !SWITCHES.includes(name);
  }

  // Return the choices in an address, or in any map of texts, always in the same sequence. What cannot be understood is
  // left out, and search.js says so.
  function read(parameters) {
    const chosen = {};
    for (const name of [...FIELDS, ...OTHERS]) {
      const value = parameters.get(name);
      if (value && isRight(name, value)) chosen[name] = value;
    }
    return chosen;
  }

  const active = (chosen) => FIELDS.filter((name) => name in chosen);

  const wordsIn = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);

  // Return the keys, or beginnings of keys, that choices name.
  const keysIn = (chosen) => [
    ...(chosen.keys ?? "").split("..").filter(Boolean),
    ...(chosen.favourites ? (isthmus.favourites?.keys() ?? []) : []),
    ...wordsIn(chosen.text ?? "").filter((word) => KEY_PREFIX.test(word)),
  ];

  // Return the columns that choices need, for all rows.
  function columnsFor(chosen) {
    const filters = active(chosen);
    const named = filters.some((name) => !["keys", "favourites"].includes(name)) ? pairs.names : [];
    return [...named, ...SCORES.filter((name) => name === chosen.sort || filters.includes(name))];
  }

  const isLoaded = (chosen) =>
    Boolean(isthmus.search?.isReady(chosen)) &&
    pairs.isLoaded(columnsFor(chosen)) &&
    keysIn(chosen).every((key) => rowsOfKeys.has(key));

  // Load what the choices need, the script that searches included.
  async function load(chosen) {
    await isthmus.assets.load("search");
    await isthmus.search.ready(chosen);
    const missing = keysIn(chosen).filter((key) => !rowsOfKeys.has(key));
    const find = async (key) => rowsOfKeys.set(key, await pairs.rowsOfKeys(key));
    await Promise.all([pairs.load(columnsFor(chosen)), ...missing.map(find)]);
  }

  // Return whether choices leave all pairs in their own sequence.
  const isEmpty = (chosen) => active(chosen).length === 0 && !chosen.sort && !chosen.reverse;

  function isRange(written) {
    const parts = written.split("..");
    return parts.length === 2 && !!parts.join("").trim() && !parts.some((part) => isNaN(part));
  }

  // Read `0.3..0.8`; either end may be missing.
  function range(written) {
    const [least, most] = written.split("..").map((part) => (part?.trim() ? Number(part) : NaN));
    return [Number.isNaN(least) ? -Infinity : least, Number.isNaN(most ?? NaN) ? Infinity : most];
  }

  return {
    FIELDS,
    LISTS,
    SCORES,
    VIEWS,
    OTHERS,
    STATUSES,
    rowsOfKeys,
    isRight,
    read,
    active,
    isEmpty,
    isLoaded,
    load,
    keysIn,
    wordsIn,
    range,
  };
})();
