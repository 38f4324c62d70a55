"use strict";

// The address: the page that is shown and the reader's choices stand after the #, which works from a folder too.
//
//   #sort=balance&layer_a=mixed4a        the grid, filtered and sorted
//   #strips                              the grid, in atlases with a land, which they open on
//   ?embed#pair=KEY                      one strip alone
//   #pair=KEY   #compare=KEY..KEY   #neuron=mixed4a:476   #matrix   #matrix=["LAYER","LAYER"]   #about
//   #map                                 the land if there is one, or else the matrix; #map=["LAYER","LAYER"]
//   #walk=mixed4a:476..12..mixed4b:3     neurons that the walk has visited; a channel alone repeats the layer
//   #route=mixed4a:476..mixed4b:3
//   #land   #land=4800,1216.5,0.5        a point of the land in the middle of the screen, and the zoom
//   #land=mixed4a:476                    a neuron on the land; mixed4a:476..12 is the flight between two
//
// Choices (filters, sort order, columns) come first and stay the same from page to page; the page comes last.
isthmus.address = (() => {
  const { assets, byId, element, filter, grid, pairs } = isthmus;
  const isEmbedded = new URLSearchParams(location.search).has("embed"); // in a page of somebody else
  const PAGES = ["pair", "compare", "neuron", "matrix", "walk", "route", "land", "about"];
  const name = document.body.dataset.name;
  let shown = null; // the page on the screen
  let choices = ""; // as written in the address
  let writing = 0; // timer, 0 if the address is up to date

  // Return what the address says. Links of earlier versions call the matrix a map.
  function parameters() {
    const given = new URLSearchParams(location.hash.slice(1));
    if (given.has("map") && !hasPage(given)) given.set(given.get("map") || !hasLand() ? "matrix" : "land", given.get("map"));
    return given;
  }

  const hasPage = (given) => PAGES.some((page) => given.has(page));

  // Return the address of a page, with the current choices or with others.
  function to(page, value = "", chosen = choices) {
    const written = encodeURIComponent(value).replaceAll("%2C", ",");
    if (page === "grid") return gridWith(chosen);
    return `#${[chosen, value ? `${page}=${written}` : page].filter(Boolean).join("&")}`;
  }

  const gridWith = (chosen) => `#${chosen || (hasLand() ? "strips" : "")}`;

  // Return the address of the grid with other choices.
  const toGrid = (chosen) => gridWith(String(new URLSearchParams(chosen)));

  // Return the page that an address names, or else the first: the land if there is one, and the grid if not.
  function pageOf(given) {
    if (isEmbedded) return "embed";
    const isFirst = hasLand() && (pairs.count === 0 || [...given].length === 0);
    return PAGES.find((page) => given.has(page)) ?? (isFirst ? "land" : "grid");
  }

  const hasLand = () => !document.querySelector("[data-page=land]").hidden;

  async function show() {
    const given = parameters();
    const page = pageOf(given);
    const first = shown === null;
    if (shown !== page) isthmus[shown]?.leave?.();
    const place = history.state?.place;
    tellMistakes(given);
    // On every page, because the grid knows which pairs come before and after a pair; a strip alone has no choices.
    choices = String(new URLSearchParams(filter.read(given)));
    grid.choose(isEmbedded ? {} : filter.read(given));
    for (const link of document.querySelectorAll("nav [data-page]")) {
      link.href = to(link.dataset.page);
      link.dataset.page === page ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
    }
    shown = page;
    const value = given.get(isEmbedded ? "pair" : page);
    const { hash } = location;
    const failure = await waitFor(prepared(page, value)).catch((error) => error);
    if (hash !== location.hash) return; // the reader has gone to another page
    document.body.dataset.page = page;
    for (const section of document.querySelectorAll(".page"))
      section.classList.toggle("shown", section.id === `${page}-page` && !failure);
    byId("gone").hidden = !failure;
    if (failure) return offerRetry(failure);
    if (page !== "grid") scrollTo({ top: 0, behavior: "instant" });
    const title = await Promise.resolve(isthmus[page].show(value, place)).catch(offerRetry);
    if (hash !== location.hash) return;
    setTitle(title);
    if (page !== "grid" && place) returnTo(place);
    if (!first && page !== "grid" && !isEmbedded) byId(`${page}-title`).focus({ preventScroll: true });
  }

  // Load the scripts of a page and then the data that it needs. By default, a page needs the names of all pairs.
  async function prepared(page, value) {
    if (page !== "grid") await Promise.all([assets.load("search"), assets.load(page)]);
    const { needs } = isthmus[page];
    await pairs.load(needs ? needs(value) : pairs.names);
  }

  // Say, if it takes long, how much has been loaded.
  async function waitFor(loading) {
    const { burst } = pairs;
    const tell = () => {
      byId("loading").hidden = false;
      byId("loading").textContent = `Loading: ${burst.ended} of ${isthmus.counted(burst.started, "file")}…`;
    };
    const patience = setTimeout(() => {
      tell();
      addEventListener("arrival", tell);
    }, 200); // ms
    try {
      return await loading;
    } finally {
      clearTimeout(patience);
      removeEventListener("arrival", tell);
      byId("loading").hidden = true;
    }
  }

  // ---- the reader's place on a page, px from its start, kept in the history of the browser

  let keeping = 0; // timer

  // Remember the place, 200 ms after the reader has stopped there.
  function keepPlace() {
    clearTimeout(keeping);
    keeping = setTimeout(() => {
      const place = shown === "grid" ? grid.position() : scrollY;
      if (byId(`${shown}-page`).matches(".shown")) history.replaceState({ ...history.state, place }, "");
    }, 200);
  }

  // Scroll to a place on a page whose parts may still arrive; the reader's own scrolling ends it.
  function returnTo(place) {
    const scroll = () => {
      scrollTo({ top: place, behavior: "instant" });
      if (Math.abs(scrollY - place) < 2) end();
    };
    const growth = new ResizeObserver(scroll);
    const signs = ["wheel", "pointerdown", "keydown", "hashchange"];
    const end = () => {
      growth.disconnect();
      for (const sign of signs) removeEventListener(sign, end);
    };
    for (const sign of signs) addEventListener(sign, end);
    growth.observe(byId(`${shown}-page`));
  }

  // ---- what may be wrong

  // Name what in an address no page understands.
  async function tellMistakes(given) {
    byId("mistakes").hidden = true;
    if ([...given].length === 0) return;
    await assets.load("search").catch(() => {}); // reported by the search
    const found = isthmus.search?.mistakes(given, [...PAGES, "grid", "strips", "map"]) ?? [];
    byId("mistakes").hidden = found.length === 0;
    byId("mistakes").textContent = `In the address: ${found.join("; ")}. The rest of the address was followed.`;
  }

  // Say that a data file could not be read.
  function lost({ message }) {
    byId("error").hidden = false;
    byId("error").textContent =
      `${message} could not be read, so pairs are missing here. Reload this page. If that does not help, ` +
      "copy the whole folder of the atlas again, or publish it again.";
  }

  const setTitle = (title) => (document.title = [title, name, "Isthmus"].filter(Boolean).join(" · "));

  // Write the address of what a page shows already. Back leads only to what the reader chose.
  function follow(page, value, title, isChosen) {
    history[isChosen ? "pushState" : "replaceState"](isChosen ? null : history.state, "", to(page, value));
    setTitle(title);
  }

  // Say that a file could not be read, and let the reader try again. Errors without a path are mistakes in the scripts.
  function offerRetry(error, place = byId("gone"), retry = show) {
    if (!error.path) throw error;
    const again = element("button", { type: "button", textContent: "Try again" });
    again.addEventListener("click", retry);
    place.hidden = false;
    place.replaceChildren(`${error.path} could not be read. If the atlas has been published again, reload this page. `, again);
  }

  // Write the choices of the tools into the address, 200 ms later, because browsers limit how often it may change.
  function replace(chosen) {
    choices = String(new URLSearchParams(chosen));
    for (const link of document.querySelectorAll("nav [data-page]")) link.href = to(link.dataset.page);
    clearTimeout(writing);
    writing = setTimeout(write, 200);
  }

  function write() {
    clearTimeout(writing);
    writing = 0;
    if (shown === "grid")
      history.replaceState(history.state, "", location.pathname + location.search + gridWith(choices).replace(/^#$/, ""));
  }

  byId("unread").remove(); // this script has been read

  // When the document is ready, every deferred script has run or failed, that of the index included.
  document.addEventListener("DOMContentLoaded", () => {
    byId("loading").hidden = true;
    const script = document.querySelector("[data-index]"); // none in an atlas without pairs
    if (script && !pairs.index.isRead) return lost({ message: script.getAttribute("src") });
    if (!script) isthmus.index({ pairs: 0, layers: [], neurons: [], settings: [], differences: [], groups: [], first: {} });
    assets.begin();
    const onlyLand = pairs.count === 0 && hasLand();
    for (const page of ["grid", "matrix"]) document.querySelector(`[data-page=${page}]`).hidden = onlyLand;
    byId("play").hidden = onlyLand;
    for (const page of ["walk", "route"]) document.querySelector(`[data-page=${page}]`).hidden = !pairs.hasRoads();
    grid.listenToTools();
    history.scrollRestoration = "manual"; // the pages restore the reader's place themselves
    addEventListener("hashchange", show);
    addEventListener("scroll", keepPlace, { passive: true });
    const before = { capture: true }; // before a link is followed
    addEventListener("click", () => writing && write(), before);
    addEventListener("keydown", ({ key }) => key === "Enter" && writing && write(), before);
    if (isEmbedded) return void show(); // one strip needs little
    addEventListener("keydown", returnToStrips);
    assets.prepare();
    show();
    // The pictures of the first screen come first.
    addEventListener("load", () => loadInAdvance().catch(() => {})); // a load that fails is reported when it is needed
  });

  async function loadInAdvance() {
    await pairs.load(pairs.names);
    grid.showCounts();
    await pairs.loadInAdvance();
    isthmus.search?.prepare();
  }

  // Escape leads from every page back to the strips, unless it has another meaning where it was pressed.
  function returnToStrips(event) {
    if (event.key !== "Escape" || event.defaultPrevented || shown === "grid" || event.target.closest("input, select, textarea, dialog"))
      return;
    location.hash = to("grid");
  }

  return { to, toGrid, replace, follow, waitFor, lost, offerRetry };
})();
