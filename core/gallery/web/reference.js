"use strict";

// References to strips, as readers paste them and as addresses have them: the key of a pair of this atlas, or the
// address of a pair in another atlas on the same server or in a folder nearby. A reference is { key, page }; `page` is
// the relative address of the other atlas's page, empty for this atlas.
isthmus.reference = (() => {
  const KEY = /^[0-9a-f]{20}$/;

  // Read a key or the address of a pair. What cannot be used is an error with a sentence for the reader.
  function read(written) {
    const text = written.trim();
    if (KEY.test(text.toLowerCase())) return { key: text.toLowerCase(), page: "" };
    let url = null;
    try {
      url = new URL(text, location.href);
    } catch {
      // told below
    }
    const key = new URLSearchParams(url?.hash.slice(1)).get("pair");
    if (!KEY.test(key ?? ""))
      throw new Error(
        `Expected the key of a pair, 20 digits and letters a to f, or the address of its page, got ${text}`,
      );
    if (url.protocol !== location.protocol || url.host !== location.host)
      throw new Error(
        `${text} is on another server; strips can be compared only with those of atlases on the same one`,
      );
    const page = url.pathname.endsWith("/") ? `${url.pathname}index.html` : url.pathname;
    const own = location.pathname.endsWith("/") ? `${location.pathname}index.html` : location.pathname;
    return { key, page: page === own ? "" : relative(page) };
  }

  // Return the relative address of a path, which always begins with a dot.
  function relative(path) {
    const from = location.pathname.split("/").slice(0, -1);
    const to = path.split("/");
    let shared = 0;
    while (shared < from.length && shared < to.length - 1 && from[shared] === to[shared]) shared++;
    const up = from.slice(shared).map(() => "..");
    return [...(up.length ? up : ["."]), ...to.slice(shared)].join("/");
  }

  const write = ({ key, page }) => (page ? `${page}#pair=${key}` : key);

  const join = (references) => isthmus.joinNames(references.map(write));

  const split = (value) =>
    value
      .split("..")
      .filter(Boolean)
      .map((part) => part.replaceAll("%2E", ".").replaceAll("%25", "%"));

  // Return the address of the page that shows a strip alone.
  const embedded = ({ key, page }) => new URL(`${page || "index.html"}?embed#pair=${key}`, location.href).href;

  return { read, join, split, embedded };
})();
