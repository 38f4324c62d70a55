"use strict";

// The grid of tiles, and the tools that choose which pairs it shows.
isthmus.grid = (() => {
  const { byId, element, filter, pairs } = isthmus;
  const grid = byId("grid");
  const { TEXT } = isthmus;
  const LINE = (matchMedia("(pointer: coarse)").matches ? 24 : 20) * TEXT; // px, of text, see strip.css
  const CAPTION = { lines: 18 + 3 * LINE, line: 20 + LINE, none: 0 }; // px: the bar and lines of text, see grid.css
  const GAP = { lines: 14, line: 22, none: 4 }; // px, between tiles
  const TOOLS = 150 * TEXT; // px, about the height of the page's bar and the tools
  const LEGIBLE = 112 * TEXT; // px; narrower tiles have no caption
  const ONE_LINE = 440 * TEXT; // px; wider tiles have a caption of one line
  const FRAME = { least: 16, suitable: 88, mostInList: 44 }; // px, in a film
  const SCORE = 84 * TEXT; // px, a column of numbers in the list
  const LONGEST = 10; // frames of a film of one line; longer strips are shown in several
  const list = isthmus.rows(grid, makeRow);
  let chosen = null; // the reader's choices, see filter.js
  let numberLeft = null; // of pairs, by each value of a filter; see filter.js
  let view = new Uint32Array(); // rows of the pairs that pass all filters, sorted
  let columns = 1;
  let film = null; // see strip.js; null if tiles show one frame
  let scores = null; // those that the list has columns for
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
    const shown = chosen.view ?? "filmstrip";
    const { caption, tile, size, most, ...made } = { tile: tiles, list: table, filmstrip: films }[shown](width);
    const layout = JSON.stringify([shown, made, tile, size]);
    if (!changed && grid.dataset.layout === layout) return;
    ({ columns, film, scores, height } = made);
    grid.dataset.layout = layout;
    grid.className = `view-${shown} caption-${caption}${tile === highest() ? " full-height" : ""}`;
    const lengths = { "--columns": columns, "--tile": `${tile}px`, "--size": `${size}px`, "--scores": scores && "4.75rem ".repeat(scores.length) + "1.5rem", "--row": `${height}px` };
    for (const one of [grid, byId("heads")])
      for (const [name, value] of Object.entries(lengths)) one.style.setProperty(name, value);
    grid.setAttribute("aria-rowcount", Math.ceil(view.length / columns));
    grid.setAttribute("aria-colcount", columns);
    Object.assign(byId("columns"), { max: most, value: columns });
    byId("columns-number").value = columns;
    isthmus.tools?.showHeads();
    list.set(Math.ceil(view.length / columns), height);
  }

  const within = (least, value, most) => Math.max(least, Math.min(most, value));

  // Return the greatest height of a picture, px, so that the screen shows a whole tile.
  const highest = () => Math.max(96, innerHeight - TOOLS - CAPTION.lines);

  // Share a width among columns. `unit` is what the width of a tile is a multiple of.
  function share(width, suitable, most, unit = 1) {
    const columns = within(1, Math.floor(chosen.columns ?? suitable), most);
    const widest = (gap) => Math.floor((width - gap * (columns - 1)) / columns / unit) * unit;
    const caption = widest(GAP.lines) < LEGIBLE ? "none" : widest(GAP.line) < ONE_LINE ? "lines" : "line";
    return { columns, caption, tile: widest(GAP[caption]), most };
  }

  // Tiles of one frame, about 210 px wide.
  function tiles(width) {
    const made = share(width, within(2, Math.round(width / 210), 16), 16);
    if (made.caption === "line") made.caption = "lines";
    const tile = within(FRAME.least, made.tile, highest());
    return { ...made, tile, size: tile, film: null, scores: null, height: tile + CAPTION[made.caption] + GAP[made.caption] };
  }

  // Whole strips, whose frames are about 88 px large and at least 16.
  function films(width) {
    const frames = framesInLine();
    const most = within(1, Math.floor((width + GAP.none) / (FRAME.least * frames + GAP.none)), 16);
    const made = share(width, within(1, Math.round(width / frames / FRAME.suitable), most), most, frames);
    const size = within(1, made.tile / frames, highest());
    const tile = size * frames;
    return { ...made, tile, size, film: { width: tile, height: size, frames }, scores: null, height: size + CAPTION[made.caption] + GAP[made.caption] };
  }

  // A table: a small strip, the names, and as many scores as there is room for.
  function table(width) {
    const frames = framesInLine();
    const size = within(FRAME.least, Math.floor((width * (width < 560 ? 0.3 : 0.22)) / frames), FRAME.mostInList);
    const tile = size * frames;
    const names = Object.keys(pairs.SCORES);
    const room = within(0, Math.floor((width - tile - (width < 560 ? 120 : 300) * TEXT) / SCORE), names.length);
    const scores = names.slice(0, room);
    if (room && chosen.sort && !scores.includes(chosen.sort)) scores[room - 1] = chosen.sort;
    return { columns: 1, caption: "list", tile, size, most: 1, film: { width: tile, height: size, frames }, scores, height: Math.max(size + 8, 2 * LINE) + 15 };
  }

  // Return how many frames a film of one line has: as many as the longest of the first strips, unless they are long.
  function framesInLine() {
    const most = Math.max(1, ...pairs.columns.frames?.subarray(0, pairs.index.first) ?? []);
    return most > LONGEST ? 6 : most;
  }

  function makeRow(number) {
    const row = element("div", { className: "row" });
    row.setAttribute("role", "row");
    row.setAttribute("aria-rowindex", number + 1);
    const rows = rowsIn(number);
    const isReady = pairs.isLoaded(pairs.tile, rows);
    if (!isReady || !pairs.isLoaded(numbers(), rows)) {
      row.dataset.waiting = isReady ? "numbers" : "tile";
      fetchSoon();
    }
    for (let column = 0; column < rows.length; column++) {
      const place = number * columns + column;
      if (!isReady) {
        row.append(element("div", { className: "tile" }, element("div", { className: "window waiting" })));
        continue;
      }
      const made = isthmus.strip.makeTile(pairs.at(view[place]), { sort: chosen.sort, film, scores });
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

  // Return the columns of the numbers that tiles show.
  const numbers = () => [...(scores ?? pairs.tileNumbers), ...(chosen.sort ? [chosen.sort] : [])];

  // Load what the tiles on the screen lack, once the reader has stopped there.
  function fetchSoon() {
    fetching ||= setTimeout(() => {
      fetching = 0;
      const rows = list.waitingRows().flatMap((number) => [...rowsIn(number)]);
      for (const names of [pairs.tile, numbers()]) {
        if (pairs.isLoaded(names, rows)) continue;
        pairs.load(names, rows).catch(isthmus.address.lost).then(() => list.redo(isReady));
      }
    }, 50);
  }

  // Return whether what a row of the grid waits for has arrived.
  const isReady = (number) => pairs.isLoaded(list.row(number).dataset.waiting === "tile" ? pairs.tile : numbers(), rowsIn(number));

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

  // ---- choosing

  // Show the pairs of the choices in an address or in the tools. If their data are not loaded, the pairs of the choices
  // before stay until they are.
  function choose(next) {
    if (JSON.stringify(next) === JSON.stringify(chosen)) return;
    chosen = next;
    left = null;
    isthmus.tools?.show();
    if (filter.isEmpty(chosen) || filter.isLoaded(chosen)) return apply();
    const wanted = chosen;
    isthmus.address.waitFor(filter.load(chosen)).then(() => wanted === chosen && apply(), isthmus.address.lost);
  }

  function apply() {
    const { rows, counts } = isthmus.search?.apply(chosen) ?? { rows: all(), counts: null };
    view = rows;
    current = 0;
    byId("count").value = `${isthmus.whole(view.length)} of ${isthmus.pairsIn(pairs.count)}`;
    numberLeft = counts;
    isthmus.tools?.show();
    dispatchEvent(new Event("view"));
    if (grid.clientWidth) {
      const top = grid.getBoundingClientRect().top - isthmus.cover();
      if (top < 0) scrollBy({ top, behavior: "instant" }); // the place in the old list means nothing in the new list
      fit(true);
    }
  }

  // Return the rows of all pairs, in their own sequence.
  const all = () => Uint32Array.from({ length: pairs.count }, (_, row) => row);

  // Change some of the choices; an empty text removes its filter.
  function change(changes, focused) {
    focused?.focus();
    const next = filter.read(new Map(Object.entries({ ...chosen, ...changes })));
    isthmus.address.replace(next); // first, because the links of tiles have the choices
    choose(next);
  }

  function setColumns(number) {
    const first = Math.round(list.position() / height) * columns;
    chosen = filter.read(new Map(Object.entries({ ...chosen, columns: number })));
    isthmus.address.replace(chosen);
    fit();
    if (first > 0) list.reveal(Math.floor(first / columns));
  }

  // Follow the size of the screen.
  function listenToTools() {
    const orders = Object.entries(pairs.SCORES).map(([value, { order }]) => element("option", { value, textContent: order }));
    byId("sort").append(...orders);
    const soon = () => requestAnimationFrame(() => fit());
    addEventListener("resize", soon); // for the height
    new ResizeObserver(soon).observe(grid);
  }

  // ---- coming and going

  // Show the grid where the reader left it; `place` is the position, px, that the browser's history has.
  function show(_, place) {
    isthmus.welcome.show();
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
  function showCounts() {
    if (!chosen || !filter.isLoaded(chosen)) return;
    numberLeft = isthmus.search.apply(chosen).counts;
    isthmus.tools?.show();
  }

  return {
    show,
    needs: () => [],
    position: () => list.position(),
    leave,
    choose,
    change,
    setColumns,
    around,
    moveOn,
    listenToTools,
    showCounts,
    focus,
    makeCurrent,
    enter: () => focus(current),
    isCurrentThere: () => Boolean(player(current)),
    layout: () => ({ columns, height }),
    again: () => filter.load(chosen).then(apply, isthmus.address.lost),
    chosen: () => chosen,
    rows: () => view,
    scores: () => scores,
    numberLeft: () => numberLeft,
  };
})();
