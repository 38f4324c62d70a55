"use strict";

// The tools above the grid: filters, sort orders, views, and what happens with all strips that are found.
isthmus.tools = (() => {
  const { byId, element, filter, grid, pairs } = isthmus;
  const [state, chips] = ["state", "chips"].map(byId);
  const LABELS = {
    text: "search",
    with: "neuron",
    a: "a",
    b: "b",
    layer_a: "layer of a",
    layer_b: "layer of b",
    status: "status",
    setting: "settings",
    ends: "ends",
    excited: "both excited",
    keys: "chosen",
    favourites: "favourites",
  };
  const WORDS = { strong: "both strong", weak: "one weak", dead: "one not excited" }; // values of `ends`
  const FIRST_VIEW = "filmstrip"; // not written into addresses
  let chosen = {}; // the reader's choices, see filter.js

  const viewChosen = () => (byId("view").value === FIRST_VIEW ? "" : byId("view").value);

  // Show the choices in the tools.
  function show() {
    chosen = grid.chosen();
    showTools(grid.numberLeft());
    showChips();
    showState();
  }

  function showTools(counts) {
    for (const name of ["text", "with"])
      if (document.activeElement !== byId(name)) byId(name).value = chosen[name] ?? "";
    for (const [name, values] of Object.entries(filter.LISTS)) if (byId(name)) options(name, values, counts?.[name]);
    byId("setting-label").hidden = pairs.settings.length < 2;
    byId("ends-label").hidden = pairs.absent.has("ends");
    byId("columns-label").hidden = chosen.view === "list";
    byId("sort").value = chosen.sort ?? "";
    byId("view").value = chosen.view ?? FIRST_VIEW;
    byId("favourites").setAttribute("aria-pressed", Boolean(chosen.favourites));
    byId("reverse").setAttribute("aria-pressed", Boolean(chosen.reverse));
    for (const name of Object.keys(pairs.SCORES)) {
      const [least, most] = filter.range(chosen[name] ?? "..");
      const [from, to] = byId("ranges").querySelectorAll(`[data-score=${name}]`);
      if (document.activeElement !== from) from.value = Number.isFinite(least) ? least : "";
      if (document.activeElement !== to) to.value = Number.isFinite(most) ? most : "";
    }
  }

  // Fill a list with the values that would leave some pairs, each with the number of these pairs if it is known.
  function options(name, values, counts) {
    const all = element("option", { value: "", textContent: "all" });
    const found = values
      .map((value, i) => [value, counts?.[i]])
      .filter(([value, pairsOf]) => pairsOf !== 0 || value === chosen[name]);
    const texts = found.map(([value, pairsOf]) =>
      element("option", { value, title: value, textContent: wordsOf(name, value) + (pairsOf === undefined ? "" : ` (${isthmus.whole(pairsOf)})`) }),
    );
    byId(name).replaceChildren(all, ...texts);
    byId(name).value = chosen[name] ?? "";
  }

  // Return the words for the value of a filter. Settings are told apart by what differs.
  function wordsOf(name, value) {
    if (name === "ends") return WORDS[value] ?? value;
    if (name === "keys") return isthmus.pairsIn(value.split("..").length);
    if (name === "favourites") return "";
    return (name === "setting" && pairs.differences[pairs.settings.indexOf(value)]) || value;
  }

  function showChips() {
    const active = filter.active(chosen);
    chips.hidden = active.length === 0;
    chips.replaceChildren(
      ...active.map((name) => {
        const label = LABELS[name] ?? pairs.SCORES[name].label.toLowerCase();
        const chip = element(
          "button",
          { type: "button", className: "chip" },
          `${label} `,
          isthmus.quoted(wordsOf(name, chosen[name])),
          " ×",
        );
        chip.title = chosen[name];
        chip.setAttribute("aria-label", `Remove ${label} ${wordsOf(name, chosen[name])}`);
        chip.addEventListener("click", () => grid.change({ [name]: "" }, byId("text")));
        return chip;
      }),
    );
    if (active.length > 1) chips.append(clearAll());
    byId("filters").firstElementChild.textContent = active.length ? `Filters (${active.length})` : "Filters";
  }

  // Show the headings of the list, which sort it.
  function showHeads() {
    chosen = grid.chosen();
    const heads = byId("heads");
    const scores = grid.scores();
    heads.hidden = !scores;
    const head = (name, label, title = "") => {
      const made = element("button", { type: "button", textContent: label, title });
      const isChosen = name === (chosen.sort ?? "");
      made.setAttribute("aria-pressed", isChosen);
      if (isChosen) made.append(chosen.reverse ? " ▴" : " ▾");
      made.addEventListener("click", () => grid.change({ sort: name, reverse: isChosen && !chosen.reverse ? "1" : "" }));
      return made;
    };
    const { SCORES } = pairs;
    const named = (scores ?? []).map((name) => head(name, SCORES[name].label, `${SCORES[name].order}: ${SCORES[name].meaning}`));
    heads.replaceChildren(element("span"), head("", "Name"), ...named);
  }

  function showState() {
    state.hidden = grid.rows().length > 0 || pairs.count === 0;
    state.replaceChildren("No pair passes all filters. ", clearAll());
  }

  function clearAll() {
    const clear = element("button", { type: "button", textContent: "Clear all filters" });
    clear.addEventListener("click", () =>
      grid.change(Object.fromEntries(filter.FIELDS.map((name) => [name, ""])), byId("text")),
    );
    return clear;
  }

  function listen() {
    byId("ranges").append(...Object.entries(pairs.SCORES).map(([name, score]) => rangeOf(name, score)));
    for (const name of ["text", "with"])
      byId(name).addEventListener("input", () => grid.change({ [name]: byId(name).value.trim() }));
    for (const name of [...Object.keys(filter.LISTS), "sort"].filter(byId)) {
      byId(name).addEventListener("change", () => grid.change({ [name]: byId(name).value }));
    }
    byId("reverse").addEventListener("click", () => grid.change({ reverse: chosen.reverse ? "" : "1" }));
    byId("view").addEventListener("change", () => grid.change({ view: viewChosen(), columns: "" }));
    byId("share").addEventListener("click", () => isthmus.tray.share());
    byId("csv").addEventListener("click", () => isthmus.assets.load("csv").then(() => isthmus.csv.download(), isthmus.address.lost));
    byId("favourites").addEventListener("click", () => grid.change({ favourites: chosen.favourites ? "" : "1" }));
    byId("columns").addEventListener("input", () => grid.setColumns(byId("columns").value));
    addEventListener("favourites", showFavourites);
  }

  function showFavourites() {
    const number = isthmus.favourites.keys().length;
    byId("favourites").lastElementChild.textContent = number ? isthmus.whole(number) : "";
    byId("share").hidden = number === 0;
    if (chosen.favourites) grid.again();
  }

  // Create the fields of a score's range, which show the ends that it has in the atlas.
  function rangeOf(name, { label, meaning }) {
    const field = (which, end) => {
      const placeholder = end === undefined ? which : `${which} ${isthmus.short(end)}`;
      const input = element("input", { type: "number", step: "any", placeholder });
      input.dataset.score = name;
      input.setAttribute("aria-label", `${label}, ${which}`);
      input.addEventListener("input", () => {
        const [least, most] = [...byId("ranges").querySelectorAll(`[data-score=${name}]`)].map((one) => one.value);
        grid.change({ [name]: least || most ? `${least}..${most}` : "" });
      });
      return input;
    };
    const [least, most] = pairs.ranges[name] ?? []; // no pair has it
    return element("span", { className: "range" }, isthmus.term(label, meaning), field("min", least), field("max", most));
  }

  // What the reader has chosen before this script was there.
  const fields = ["text", "with", "sort", ...Object.keys(filter.LISTS)].filter(byId).map((name) => [name, byId(name).value.trim()]);
  const before = [...fields, ["view", viewChosen()]].filter(([, value]) => value);
  const columns = byId("columns").value;
  const laidOut = byId("columns-number").value; // nothing before the grid has been shown
  listen();
  if (before.length) grid.change(Object.fromEntries(before));
  if (laidOut && columns !== laidOut) grid.setColumns(columns);
  show();
  showHeads();
  showFavourites();
  return { show, showHeads };
})();
