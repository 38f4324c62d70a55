"use strict";

// The address: which page is shown and what is chosen stand behind the #, which works from a folder too.
//
//   #sort=balance&layer_a=mixed4a        the grid, filtered and sorted
//   #pair=KEY   #neuron=mixed4a:476   #map   #map=["LAYER","LAYER"]   #about
//   #walk=mixed4a:476..12..mixed4b:3     neurons that one came by; those of the same layer by their channel
//   #route=mixed4a:476..mixed4b:3
//
// Choices come first and go with the reader from page to page; the last word is the page.
isthmus.address = (() => {
  const { assets, byId, element, filter, grid, pairs } = isthmus;
  const PAGES = ["pair", "neuron", "map", "walk", "route", "about"];
  const name = document.body.dataset.name;
  let shown = null; // the page on the screen
  let choices = ""; // as they stand in the address
  let writing = 0;

  const parameters = () => new URLSearchParams(location.hash.slice(1));

  // Address of a page, with the choices that are in force or with others.
  function to(page, value = "", chosen = choices) {
    const own = page === "grid" ? "" : value ? `${page}=${encodeURIComponent(value)}` : page;
    return `#${[chosen, own].filter(Boolean).join("&")}`;
  }

  // Address of the grid with other choices.
  const toGrid = (chosen) => `#${new URLSearchParams(chosen)}`;

  function pageOf(given) {
    return PAGES.find((page) => given.has(page)) ?? "grid";
  }

  async function show() {
    const given = parameters();
    const page = pageOf(given);
    const first = shown === null;
    if (shown !== page) isthmus[shown]?.leave?.();
    grid.choose(filter.read(given)); // elsewhere too: it says which pairs come before and after one
    choices = String(new URLSearchParams(filter.read(given)));
    for (const link of document.querySelectorAll("nav [data-page]")) {
      link.href = to(link.dataset.page);
      link.dataset.page === page ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
    }
    shown = page;
    const { hash } = location;
    const lost = await assets.load(page).catch((error) => error);
    if (hash !== location.hash) return; // the reader has gone on
    for (const section of document.querySelectorAll(".page"))
      section.classList.toggle("shown", section.id === `${page}-page` && !lost);
    byId("gone").hidden = !lost;
    if (lost) return tellLoss(lost.message);
    if (page !== "grid") scrollTo({ top: 0, behavior: "instant" });
    entitle(isthmus[page].show(given.get(page)));
    if (!first && page !== "grid") byId(`${page}-title`).focus({ preventScroll: true });
  }

  const entitle = (title) => (document.title = [title, name, "Isthmus"].filter(Boolean).join(" · "));

  // The reader has gone on within a page that shows it already; what was not the reader's choice is none to go back to.
  function follow(page, value, title, isChosen) {
    history[isChosen ? "pushState" : "replaceState"](null, "", to(page, value));
    entitle(title);
  }

  // A page whose scripts are gone can be opened once they are back, or in what was published since.
  function tellLoss(path) {
    const again = element("button", { type: "button", textContent: "Try again" });
    again.addEventListener("click", show);
    byId("gone").replaceChildren(
      `${path} could not be read. If the atlas was published anew, load this page again. `,
      again,
    );
  }

  // The tools have changed the choice: so does the address, a little later, because browsers limit how often it may.
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
      history.replaceState(null, "", location.pathname + location.search + (choices ? `#${choices}` : ""));
  }

  // Deferred scripts, the shards among them, have all run or failed when the document is ready.
  document.addEventListener("DOMContentLoaded", () => {
    const [missing, of] = pairs.missing();
    byId("error").hidden = missing.length === 0;
    byId("error").textContent =
      `${missing.length} of ${of} data files could not be read, so pairs are missing here: ` +
      `${missing.join(", ")}. Load the page again; copy the whole folder of the atlas, or publish it again.`;
    pairs.join();
    for (const page of ["walk", "route"]) document.querySelector(`[data-page=${page}]`).hidden = !pairs.hasRoads();
    grid.listenToTools();
    history.scrollRestoration = "manual"; // the grid knows where the reader was
    addEventListener("hashchange", show);
    const before = { capture: true }; // a link is followed
    addEventListener("click", () => writing && write(), before);
    addEventListener("keydown", ({ key }) => key === "Enter" && writing && write(), before);
    assets.prepare();
    show();
    filter.prepare();
  });

  return { to, toGrid, replace, follow };
})();
