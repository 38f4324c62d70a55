"use strict";

// Scripts and styles that the first screen of strips does without. Those of every page are loaded after it is drawn.
// Those of a page are loaded when it is opened, or earlier, when the reader first moves the pointer, touches or types.
// The elements of the body and of the page name them; scripts run in that sequence.
isthmus.assets = (() => {
  const loads = new Map(); // path -> promise

  // Load a page's files. An error has the path of the file that could not be read as its message.
  async function load(page) {
    if (page === "grid") return; // shows at once
    await loadAll(document.body, isthmus.byId(`${page}-page`));
  }

  const loadAll = (...elements) =>
    Promise.all(elements.flatMap((one) => one.dataset.assets.split(" ")).map((path) => loads.get(path) ?? start(path)));

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
    const once = { once: true, passive: true };
    const early = () => loadAll(...document.querySelectorAll("[data-assets]")).catch(() => {}); // reported when needed
    for (const sign of ["pointermove", "pointerdown", "keydown"]) addEventListener(sign, early, once);
  }

  addEventListener("DOMContentLoaded", () =>
    requestAnimationFrame(() => setTimeout(() => loadAll(document.body).catch(isthmus.address.lost))),
  );

  return { load, prepare };
})();
