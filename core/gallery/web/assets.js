"use strict";

// HTML, scripts and styles that the first screen does not need: those of the pages other than the grid, and of searching.
// They are loaded when they are needed, or earlier, when the reader first moves the pointer, touches or types. The body
// names them; scripts run in that sequence.
isthmus.assets = (() => {
  const files = document.body.dataset.files.split(" ").map((file) => (file.includes("/") ? file : `assets/${file}`));
  const parts = {}; // part -> places of its files
  for (const part of document.body.dataset.parts.split(" ")) {
    const [name, places] = part.split(":");
    parts[name] = places.split(",");
  }
  const ASKED = ["animations", "csv", "embed", "photographs"]; // parts that few readers need; they are never loaded in advance
  const SIGNS = ["pointermove", "pointerdown", "keydown", "focusin", "input"];
  const loads = new Map(); // path -> promise

  // Load the files of a part, such as a page. An error has the path of the file that could not be read as its message.
  async function load(part) {
    const all = part === "grid" || part === "search" ? [] : parts.every;
    const paths = [...all, ...(parts[part] ?? [])].map((place) => files[place]);
    await Promise.all(paths.map((path) => loads.get(path) ?? start(path)));
  }

  function start(path) {
    const made = path.endsWith(".css")
      ? isthmus.element("link", { rel: "stylesheet", href: isthmus.source(path) })
      : isthmus.element("script", { src: isthmus.source(path), async: false }); // run in sequence
    const loading = new Promise((resolve, reject) => {
      const fail = () => {
        made.remove();
        loads.delete(path); // so that the next call tries again
        reject(isthmus.unread(path));
      };
      // A script that is cut short, or needs one that could not be read, does not run, and is loaded again too.
      const [, name] = /^(?:assets.)?([\w/]+)-[\w-]+[.]js$/.exec(path) ?? [];
      made.addEventListener("load", () => (name && !isthmus.ran[name] ? fail() : resolve()));
      made.addEventListener("error", fail);
    });
    loads.set(path, loading);
    document.head.append(made);
    return loading;
  }

  // Load the files of every page that the atlas offers when the reader first moves the pointer, touches or types.
  function prepare() {
    const once = { once: true, passive: true };
    const isOffered = (part) => !ASKED.includes(part) && !document.querySelector(`nav [data-page=${part}]`)?.hidden;
    const wanted = Object.keys(parts).filter(isOffered);
    const loadAll = () => wanted.forEach((part) => load(part).catch(() => {})); // reported when it is opened
    for (const sign of SIGNS) addEventListener(sign, loadAll, once);
  }

  // What the first screen does without, the tools included, is loaded at the first sign of a reader; or at once, if the
  // address has choices that the tools show or the reader has favourites.
  function begin() {
    const early = () => load("every").then(() => removeEventListener("click", again, capture), isthmus.address.lost);
    const capture = { capture: true };
    const again = async ({ target }) => {
      const button = target.closest("button, .player[role=slider]");
      if (!button) return;
      await early(); // nothing has answered the click
      button.click();
    };
    addEventListener("click", again, capture);
    if (location.hash || isthmus.stored(() => localStorage.getItem(isthmus.FAVOURITES))) early();
    else for (const sign of SIGNS) addEventListener(sign, early, { once: true, passive: true });
  }

  return { load, begin, prepare, has: (part) => part in parts };
})();
