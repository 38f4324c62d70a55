"use strict";

// The reader's favourites: keys of pairs, kept in this browser for each atlas by its name. A browser may refuse to keep
// them; then they last as long as the page.
isthmus.favourites = (() => {
  const { byId, element } = isthmus;
  const PLACE = isthmus.FAVOURITES;
  const KEY = /^[0-9a-f]{20}$/;
  let chosen = new Set();
  let kept = true;

  const write = () => {
    localStorage.setItem(PLACE, [...chosen].join(" "));
    return true;
  };

  function read() {
    const texts = String(isthmus.stored(() => localStorage.getItem(PLACE)) ?? "").split(" ");
    chosen = new Set(texts.filter((text) => KEY.test(text)));
  }

  function toggle(key) {
    if (kept) read(); // another window may have changed them
    chosen.delete(key) || chosen.add(key);
    kept = isthmus.stored(write) ?? false;
    if (!kept) byId("said").textContent = "This browser keeps nothing for this page: favourites stay until this page is closed.";
    dispatchEvent(new Event("favourites"));
  }

  // Create the star of a pair, which adds it to the favourites or removes it.
  function button(key) {
    const made = element("button", { type: "button", className: "star", title: "Favourite", ariaLabel: "Favourite" });
    Object.assign(made.dataset, { list: "favourites", pair: key });
    return mark(made);
  }

  function mark(star) {
    star.setAttribute("aria-pressed", chosen.has(star.dataset.pair));
    return star;
  }

  const markAll = () => document.querySelectorAll("[data-list=favourites]").forEach(mark);

  addEventListener("click", ({ target }) => target.dataset?.list === "favourites" && toggle(target.dataset.pair));
  addEventListener("storage", ({ key }) => {
    if (key !== PLACE) return;
    read();
    dispatchEvent(new Event("favourites"));
  });
  addEventListener("favourites", markAll);
  read();
  markAll();

  return { keys: () => [...chosen], button, mark, isKept: () => kept };
})();
