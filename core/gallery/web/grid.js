"use strict";

// The grid of tiles, and the tools that choose which pairs it shows.
isthmus.grid = (() => {
  const { byId, element, filter, pairs } = isthmus;
  const [grid, state, count, chips] = ["grid", "state", "count", "chips"].map(byId);
  const CAPTION = 78; // px: the bar and three lines of text, see grid.css
  const TOOLS = 150; // px, about the height of the page's bar and the tools
  const LEGIBLE = 112; // px; narrower tiles have no caption
  const GAP = { captioned: 14, bare: 4 }; // px
  const LABELS = {
    text: "search",
    with: "neuron",
    layer_a: "layer of a",
    layer_b: "layer of b",
    status: "status",
    setting: "settings",
    excited: "both excited",
    ends: "ends",
    keys: "pairs",
    favourites: "favourites",
    a: "a",
    b: "b",
  };

  const list = isthmus.rows(grid, makeRow);
  let chosen = null; // the reader's choices, see filter.js
  let view = new Uint32Array(); // rows of the pairs that pass all filters, sorted
  let columns = 1;
  let tile = 192; // px
  let height = 284; // px, a row with the gap below it
  let current = 0; // place in the view of the tile that the keyboard reaches
  let fetching = 0; // timer
  let left = null; // the reader's place before going to another page: px in the list, and place of the focused tile

  // ---- layout

  // Lay the grid out for its width. If the width gives the same layout, nothing happens: a telephone that shows or
  // hides its own bars must not move the reader.
  function fit(changed = false) {
    const width = grid.clientWidth;
    if (width === 0) return;
    const before = `${columns} ${tile}`;
    byId("columns").value = chosen.columns ?? suitable();
    columns = Number(byId("columns").value);
    const highest = Math.max(96, innerHeight - TOOLS - CAPTION);
    const share = (gap) => Math.max(16, Math.min(highest, Math.floor((width - gap * (columns - 1)) / columns)));
    const bare = share(GAP.captioned) < LEGIBLE;
    tile = share(bare ? GAP.bare : GAP.captioned);
    if (!changed && before === `${columns} ${tile}`) return;
    height = tile + (bare ? GAP.bare : CAPTION + GAP.captioned);
    grid.classList.toggle("bare", bare);
    grid.classList.toggle("full-height", tile === highest);
    grid.style.setProperty("--columns", columns);
    grid.style.setProperty("--tile", `${tile}px`);
    grid.setAttribute("aria-rowcount", Math.ceil(view.length / columns));
    grid.setAttribute("aria-colcount", columns);
    byId("columns-number").value = columns;
    list.set(Math.ceil(view.length / columns), height);
  }

  // Return the number of columns that suits the screen: tiles about 210 px wide.
  const suitable = () => Math.max(2, Math.min(16, Math.round(grid.clientWidth / 210)));

  function makeRow(number) {
    const row = element("div", { className: "row" });
    row.setAttribute("role", "row");
    row.setAttribute("aria-rowindex", number + 1);
    const rows = rowsIn(number);
    const isReady = pairs.isLoaded(pairs.tile, rows);
    if (!isReady || !pairs.isLoaded(pairs.tileNumbers, rows)) {
      row.dataset.waiting = isReady ? "tileNumbers" : "tile";
      fetchSoon();
    }
    for (let column = 0; column < rows.length; column++) {
      const place = number * columns + column;
      if (!isReady) {
        row.append(element("div", { className: "tile" }, element("div", { className: "window" })));
        continue;
      }
      const made = isthmus.strip.makeTile(pairs.at(view[place]), chosen.sort);
      made.setAttribute("role", "gridcell");
      made.setAttribute("aria-colindex", column + 1);
      made.dataset.place = place;
      made.firstElementChild.tabIndex = place === current ? 0 : -1;
      row.append(made);
    }
    return row;
  }

  // Return the rows of the pairs in a row of the grid.
  const rowsIn = (number) => view.subarray(number * columns, (number + 1) * columns);

  // Load what the tiles on the screen lack, once the reader has stopped there.
  function fetchSoon() {
    fetching ||= setTimeout(() => {
      fetching = 0;
      const rows = list.waitingRows().flatMap((number) => [...rowsIn(number)]);
      for (const names of [pairs.tile, pairs.tileNumbers]) {
        if (pairs.isLoaded(names, rows)) continue;
        pairs.load(names, rows).catch(isthmus.address.lost).then(() => list.redo(isReady));
      }
    }, 50);
  }

  // Return whether what a row of the grid waits for has arrived.
  const isReady = (number) => pairs.isLoaded(pairs[list.row(number).dataset.waiting], rowsIn(number));

  const player = (place) => list.row(Math.floor(place / columns))?.querySelector(`[data-place="${place}"] > .player`);

  function focus(place) {
    const target = Math.max(0, Math.min(view.length - 1, place));
    makeCurrent(target);
    list.reveal(Math.floor(target / columns));
    player(target)?.focus({ preventScroll: true });
  }

  function makeCurrent(place) {
    const before = player(current);
    if (before) before.tabIndex = -1;
    current = place;
    const now = player(place);
    if (now) now.tabIndex = 0;
  }

  grid.addEventListener("keydown", (event) => {
    const made = event.target.closest(".tile");
    if (!made) return;
    const place = Number(made.dataset.place);
    const screen = Math.max(1, Math.floor(innerHeight / height) - 1) * columns;
    const key = `${event.ctrlKey || event.metaKey ? "Ctrl+" : ""}${event.shiftKey ? "Shift+" : ""}${event.key}`;
    const target = {
      ArrowUp: place - columns,
      ArrowDown: place + columns,
      "Shift+ArrowLeft": place - 1,
      "Shift+ArrowRight": place + 1,
      PageUp: place - screen,
      PageDown: place + screen,
      "Ctrl+Home": 0,
      "Ctrl+End": view.length - 1,
    }[key];
    if (target === undefined) return;
    event.preventDefault();
    if (key.startsWith("Arrow") && (target < 0 || target >= view.length)) return;
    focus(target);
  });
  grid.addEventListener("focusin", (event) => {
    const made = event.target.closest(".tile");
    if (made) makeCurrent(Number(made.dataset.place));
  });
  // If the tile that Tab would reach is far off the screen, let Tab reach the first tile on the screen.
  addEventListener("keydown", (event) => {
    if (event.key === "Tab" && grid.clientWidth && !player(current))
      makeCurrent(Math.max(0, Math.ceil(list.position() / height)) * columns);
  });
  isthmus.strip.listen(grid);

  // ---- choosing

  // Show the pairs of the choices in an address or in the tools. If their data are not loaded, the pairs of the choices
  // before stay until they are.
  function choose(next) {
    if (JSON.stringify(next) === JSON.stringify(chosen)) return;
    chosen = next;
    left = null;
    showTools(null);
    showChips();
    if (filter.isEmpty(chosen) || filter.isLoaded(chosen)) return apply();
    const wanted = chosen;
    isthmus.address.waitFor(filter.load(chosen)).then(() => wanted === chosen && apply(), isthmus.address.lost);
  }

  function apply() {
    const { rows, counts } = isthmus.search?.apply(chosen) ?? { rows: all(), counts: null };
    view = rows;
    current = 0;
    count.value = `${isthmus.whole(view.length)} of ${isthmus.pairsIn(pairs.count)}`;
    if (counts) showTools(counts);
    showState();
    dispatchEvent(new Event("view"));
    if (grid.clientWidth) {
      const top = grid.getBoundingClientRect().top - isthmus.cover();
      if (top < 0) scrollBy({ top, behavior: "instant" }); // the place in the old list means nothing in the new list
      fit(true);
    }
  }

  // Return the rows of all pairs, in their own sequence.
  const all = () => Uint32Array.from({ length: pairs.count }, (_, row) => row);

  function showTools(counts) {
    for (const name of ["text", "with"])
      if (document.activeElement !== byId(name)) byId(name).value = chosen[name] ?? "";
    for (const [name, values] of Object.entries(filter.LISTS)) if (byId(name)) options(name, values, counts?.[name]);
    byId("setting-label").hidden = pairs.settings.length < 2;
    byId("excited-label").hidden = pairs.absent.has("excited");
    byId("sort").value = chosen.sort ?? "";
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
      element("option", { value, textContent: pairsOf === undefined ? value : `${value} (${isthmus.whole(pairsOf)})` }),
    );
    byId(name).replaceChildren(all, ...texts);
    byId(name).value = chosen[name] ?? "";
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
          isthmus.quoted(chosen[name]),
          " ×",
        );
        chip.setAttribute("aria-label", `Remove ${label} ${chosen[name]}`);
        chip.addEventListener("click", () => change({ [name]: "" }, byId("text")));
        return chip;
      }),
    );
    if (active.length > 1) chips.append(clearAll());
    byId("filters").firstElementChild.textContent = active.length ? `Filters (${active.length})` : "Filters";
  }

  function showState() {
    state.hidden = view.length > 0 || pairs.count === 0;
    state.replaceChildren("No pair passes all filters. ", clearAll());
  }

  function clearAll() {
    const clear = element("button", { type: "button", textContent: "Clear all filters" });
    clear.addEventListener("click", () =>
      change(Object.fromEntries(filter.FIELDS.map((name) => [name, ""])), byId("text")),
    );
    return clear;
  }

  // Change some of the choices; an empty text removes its filter.
  function change(changes, focused) {
    focused?.focus();
    choose(filter.read(new Map(Object.entries({ ...chosen, ...changes }))));
    isthmus.address.replace();
  }

  function listenToTools() {
    const names = element("option", { value: "", textContent: "Name" });
    byId("sort").append(names, ...isthmus.scoreOptions("order"));
    byId("ranges").append(...Object.entries(pairs.SCORES).map(([name, score]) => rangeOf(name, score)));
    for (const name of ["text", "with"])
      byId(name).addEventListener("input", () => change({ [name]: byId(name).value.trim() }));
    for (const name of [...Object.keys(filter.LISTS), "sort"].filter(byId)) {
      byId(name).addEventListener("change", () => change({ [name]: byId(name).value }));
    }
    byId("reverse").addEventListener("click", () => change({ reverse: chosen.reverse ? "" : "1" }));
    byId("columns").addEventListener("input", () => {
      const first = Math.round(list.position() / height) * columns;
      chosen = filter.read(new Map(Object.entries({ ...chosen, columns: byId("columns").value })));
      fit();
      if (first > 0) list.reveal(Math.floor(first / columns));
      isthmus.address.replace();
    });
    addEventListener("resize", () => fit());
  }

  function rangeOf(name, { label, meaning }) {
    const field = (which) => {
      const input = element("input", { type: "number", step: "any", placeholder: which, title: meaning });
      input.dataset.score = name;
      input.setAttribute("aria-label", `${label}, ${which}`);
      input.addEventListener("input", () => {
        const [least, most] = [...byId("ranges").querySelectorAll(`[data-score=${name}]`)].map((one) => one.value);
        change({ [name]: least || most ? `${least}..${most}` : "" });
      });
      return input;
    };
    return element("span", { className: "range", title: meaning }, label, field("min"), field("max"));
  }

  // ---- coming and going

  // Show the grid where the reader left it; `place` is the position, px, that the browser's history has.
  function show(_, place) {
    fit(true);
    if (left === null && place === undefined) return;
    const { position, focused } = left ?? { position: place, focused: null };
    left = null;
    list.moveTo(position);
    if (focused !== null) focus(focused);
  }

  // Remember the reader's place.
  function leave() {
    const within = document.activeElement?.closest?.("#grid .tile");
    left = { position: list.position(), focused: within ? Number(within.dataset.place) : null };
  }

  // Return the place of a pair in the view, and the rows before and after it.
  function around(row) {
    const place = view.indexOf(row);
    return { place, of: view.length, previous: view[place - 1], next: place < 0 ? undefined : view[place + 1] };
  }

  // The reader went on to another pair: remember it as the one to return to.
  function moveOn(row) {
    const place = view.indexOf(row);
    if (place >= 0) left = { position: left?.position ?? 0, focused: place };
  }

  // The names of all pairs have arrived: show how many pairs each value of a filter would leave.
  const showCounts = () => chosen && filter.isLoaded(chosen) && showTools(isthmus.search.apply(chosen).counts);

  return { show, needs: () => [], position: () => list.position(), leave, choose, around, moveOn, listenToTools, showCounts, chosen: () => chosen, rows: () => view };
})();
