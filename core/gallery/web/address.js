"use strict";

// The address: the page that is shown and the reader's choices stand after the #, which works from a folder too.
//
//   #sort=balance&layer_a=mixed4a        the grid, filtered and sorted
//   #strips                              the grid, in atlases with a land, which they open on
//   #pair=KEY   #neuron=mixed4a:476   #matrix   #matrix=["LAYER","LAYER"]   #about
//   #walk=mixed4a:476..12..mixed4b:3     neurons that the walk has visited; a channel alone repeats the layer
//   #route=mixed4a:476..mixed4b:3
//   #land   #land=4800,1216.5,0.5        a point of the land in the middle of the screen, and the zoom
//   #land=mixed4a:476                    a neuron on the land; mixed4a:476..12 is the flight between two
//
// Choices (filters, sort order, columns) come first and stay the same from page to page; the page comes last.
isthmus.address = (() => {
  const { assets, byId, element, filter, grid, pairs } = isthmus;
  const PAGES = ["pair", "neuron", "matrix", "walk", "route", "land", "about"];
  const name = document.body.dataset.name;
  let shown = null; // the page on the screen
  let choices = ""; // as written in the address
  let writing = 0; // timer, 0 if the address is up to date

  const parameters = () => new URLSearchParams(location.hash.slice(1));

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
    const isFirst = hasLand() && (pairs.count === 0 || [...given].length === 0);
    return PAGES.find((page) => given.has(page)) ?? (isFirst ? "land" : "grid");
  }

  const hasLand = () => !document.querySelector("[data-page=land]").hidden;

  async function show() {
    const given = parameters();
    const page = pageOf(given);
    const first = shown === null;
    if (shown !== page) isthmus[shown]?.leave?.();
    grid.choose(filter.read(given)); // on every page: the grid knows which pairs come before and after a pair
    choices = String(new URLSearchParams(filter.read(given)));
    for (const link of document.querySelectorAll("nav [data-page]")) {
      link.href = to(link.dataset.page);
      link.dataset.page === page ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
    }
    shown = page;
    const { hash } = location;
    const failure = await assets.load(page).catch((error) => error);
    if (hash !== location.hash) return; // the reader has gone to another page
    for (const section of document.querySelectorAll(".page"))
      section.classList.toggle("shown", section.id === `${page}-page` && !failure);
    byId("gone").hidden = !failure;
    if (failure) return offerRetry(failure.message);
    if (page !== "grid") scrollTo({ top: 0, behavior: "instant" });
    setTitle(isthmus[page].show(given.get(page)));
    if (!first && page !== "grid") byId(`${page}-title`).focus({ preventScroll: true });
  }

  const setTitle = (title) => (document.title = [title, name, "Isthmus"].filter(Boolean).join(" · "));

  // Write the address of what a page shows already. Back leads only to what the reader chose.
  function follow(page, value, title, isChosen) {
    history[isChosen ? "pushState" : "replaceState"](null, "", to(page, value));
    setTitle(title);
  }

  // If a page's scripts cannot be read, let the reader try again.
  function offerRetry(path) {
    const again = element("button", { type: "button", textContent: "Try again" });
    again.addEventListener("click", show);
    byId("gone").replaceChildren(
      `${path} could not be read. If the atlas has been published again, reload this page. `,
      again,
    );
  }

  // Write the choices of the tools into the address, 200 ms later, because browsers limit how often it may change.
  function replace() {
    choices = String(new URLSearchParams(grid.chosen()));
    for (const link of document.querySelectorAll("nav [data-page]")) link.href = to(link.dataset.page);
    clearTimeout(writing);
    writing = setTimeout(write, 200);
  }

  function write() {
    clearTimeout(writing);
    writing = 0;
    if (shown === "grid")
      history.replaceState(null, "", location.pathname + location.search + gridWith(choices).replace(/^#$/, ""));
  }

  // When the document is ready, every deferred script has run or failed, the shards included.
  document.addEventListener("DOMContentLoaded", () => {
    const [missing, of] = pairs.missing();
    byId("error").hidden = missing.length === 0;
    byId("error").textContent =
      `${missing.length} of ${of} data files could not be read, so pairs are missing here: ` +
      `${missing.join(", ")}. Reload this page. If that does not help, copy the whole folder of the atlas again, or publish it again.`;
    pairs.join();
    const onlyLand = pairs.count === 0 && hasLand();
    for (const page of ["grid", "matrix"]) document.querySelector(`[data-page=${page}]`).hidden = onlyLand;
    byId("play").hidden = onlyLand;
    for (const page of ["walk", "route"]) document.querySelector(`[data-page=${page}]`).hidden = !pairs.hasRoads();
    grid.listenToTools();
    history.scrollRestoration = "manual"; // the grid restores the reader's place itself
    addEventListener("hashchange", show);
    const before = { capture: true }; // before a link is followed
    addEventListener("click", () => writing && write(), before);
    addEventListener("keydown", ({ key }) => key === "Enter" && writing && write(), before);
    assets.prepare();
    show();
    filter.prepare();
  });

  return { to, toGrid, replace, follow };
})();
