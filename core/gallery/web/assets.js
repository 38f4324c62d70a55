"use strict";

// Scripts and styles of the pages other than the grid. They are loaded when the page is opened, or earlier, when the
// reader first moves the pointer, touches or types. The page's element names them; scripts run in that sequence.
isthmus.assets = (() => {
  const loads = new Map(); // path -> promise

  // Load a page's files. An error has the path of the file that could not be read as its message.
  async function load(page) {
    await loadAll(isthmus.byId(`${page}-page`).dataset.assets?.split(" ") ?? []);
  }

  // Load scripts that few readers need, when one asks for them; an element of the page names them.
  const ask = (name) => loadAll(isthmus.byId(`${name}-scripts`).dataset.paths.split(" "));

  const loadAll = (paths) => Promise.all(paths.map((path) => loads.get(path) ?? start(path)));

  function start(path) {
    const made = path.endsWith(".css")
      ? isthmus.element("link", { rel: "stylesheet", href: path })
      : isthmus.element("script", { src: path, async: false }); // run in sequence
    const loading = new Promise((resolve, reject) => {
      made.addEventListener("load", resolve);
      made.addEventListener("error", () => {
        made.remove();
        loads.delete(path); // so that the next call tries again
        reject(new Error(path));
      });
    });
    loads.set(path, loading);
    document.head.append(made);
    return loading;
  }

  // Load the files of every page when the reader first moves the pointer, touches or types.
  function prepare() {
    const pages = [...document.querySelectorAll("[data-assets]")].map((page) => page.id.replace("-page", ""));
    const once = { once: true, passive: true };
    const loadPages = () => pages.forEach((page) => load(page).catch(() => {})); // reported when the page is opened
    for (const sign of ["pointermove", "pointerdown", "keydown"]) addEventListener(sign, loadPages, once);
  }

  return { load, ask, prepare };
})();
