"use strict";

// Scripts and styles of a page that is not the first one: loaded when the page is opened, or before, at the first sign
// of a reader. The page's element names them in the order in which they run.
isthmus.assets = (() => {
  const loads = new Map(); // path -> promise

  // Have a page's files; fails with the path of one that could not be read.
  async function load(page) {
    const paths = isthmus.byId(`${page}-page`).dataset.assets?.split(" ") ?? [];
    await Promise.all(paths.map((path) => loads.get(path) ?? start(path)));
  }

  function start(path) {
    const made = path.endsWith(".css")
      ? isthmus.element("link", { rel: "stylesheet", href: path })
      : isthmus.element("script", { src: path, async: false }); // in order
    const loading = new Promise((resolve, reject) => {
      made.addEventListener("load", resolve);
      made.addEventListener("error", () => {
        made.remove();
        loads.delete(path); // so that it can be tried again
        reject(new Error(path));
      });
    });
    loads.set(path, loading);
    document.head.append(made);
    return loading;
  }

  // Who moves the pointer, touches or types may open any page next.
  function prepare() {
    const pages = [...document.querySelectorAll("[data-assets]")].map((page) => page.id.replace("-page", ""));
    const once = { once: true, passive: true };
    const loadAll = () => pages.forEach((page) => load(page).catch(() => {})); // told when the page is opened
    for (const sign of ["pointermove", "pointerdown", "keydown"]) addEventListener(sign, loadAll, once);
  }

  return { load, prepare };
})();
