"use strict";

// The reader's favourites: keys of pairs, kept in this browser for each atlas by its name. A browser may refuse to keep
// them; then they last as long as the page.
isthmus.favourites = (() => {
  const { byId, element } = isthmus;
  const PLACE = `isthmus favourites ${document.body.dataset.name}`;
  const KEY = /^[0-9a-f]{20}$/;
  let chosen = new Set();
  let kept = true;

  const stored = (work) => {
    try {
      return work();
    } catch {
      kept = false; // private windows and strict settings
    }
  };

  function read() {
    const texts = String(stored(() => localStorage.getItem(PLACE)) ?? "").split(" ");
    chosen = new Set(texts.filter((text) => KEY.test(text)));
  }

  function toggle(key) {
    if (kept) read(); // another window may have changed them
    chosen.delete(key) || chosen.add(key);
    stored(() => localStorage.setItem(PLACE, [...chosen].join(" ")));
    dispatchEvent(new Event("favourites"));
  }

  // Create the star of a pair, which adds it to the favourites or removes it.
  function button(key) {
    const made = element("button", { type: "button", className: "star", title: "Favourite" });
    made.dataset.favourite = key;
    return mark(made);
  }

  function mark(star) {
    const { favourite } = star.dataset;
    star.setAttribute("aria-pressed", chosen.has(favourite));
    star.textContent = chosen.has(favourite) ? "★" : "☆";
    return star;
  }

  addEventListener("click", ({ target }) => {
    const star = target.closest("[data-favourite]");
    if (star) toggle(star.dataset.favourite);
  });
  addEventListener("storage", ({ key }) => {
    if (key !== PLACE) return;
    read();
    dispatchEvent(new Event("favourites"));
  });
  addEventListener("favourites", () => document.querySelectorAll("[data-favourite]").forEach(mark));
  read();

  return { keys: () => [...chosen], button, kept: () => kept, stored };
})();
