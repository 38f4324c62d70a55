"use strict";

// Files of pictures that are cut short. A browser shows what it could decode of them and reports no error, and only an
// attempt to copy the picture fails. That costs a second decoding, so it is done once for each file, while the browser is
// idle.
(() => {
  const seen = new Set(); // paths
  const waiting = []; // images
  const whenIdle = window.requestIdleCallback ?? ((work) => setTimeout(work, 100));

  function add(image) {
    const path = image.getAttribute("src");
    if (!image.missing || !image.naturalWidth || seen.has(path)) return;
    seen.add(path);
    if (waiting.push(image) === 1) whenIdle(next);
  }

  async function next() {
    const image = waiting.shift();
    if (image.isConnected) await createImageBitmap(image, 0, 0, 1, 1).then(close, () => again(image));
    else seen.delete(image.getAttribute("src")); // scrolled away
    if (waiting.length) whenIdle(next);
  }

  const close = (bitmap) => bitmap.close();

  // Each image of the file is missing, those included that show it later.
  function again(image) {
    const path = image.getAttribute("src");
    for (const one of [...document.images]) if (one.getAttribute("src") === path) one.missing?.(); // may remove it
    seen.delete(path);
  }

  document.addEventListener("load", ({ target }) => target.localName === "img" && add(target), { capture: true });
  for (const image of document.images) if (image.complete) add(image);
})();
