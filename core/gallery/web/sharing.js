"use strict";

// Text to take away from the page of a pair: its link, HTML that embeds it, and HTML that plays its sheet.
isthmus.sharing = (() => {
  const { byId } = isthmus;
  const isFolder = location.protocol === "file:";
  let pair = null;

  function show(shown) {
    pair = shown;
    byId("embedding").hidden = pair.failed;
    byId("embed-folder").hidden = !isFolder;
    if (pair.failed) return;
    byId("css").textContent = sheetCode();
    showEmbedCode();
  }

  const absolute = (path) => (isFolder ? path : new URL(path, location.href).href);

  const escaped = (text) => text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

  function showEmbedCode() {
    const [width, height] = ["embed-width", "embed-height"].map((id) => Math.round(Number(byId(id).value)) || 120);
    const title = escaped(`${pair.name}, ${document.body.dataset.name}`);
    const src = escaped(absolute(`index.html?embed#pair=${pair.key}`));
    byId("embed-code").textContent =
      `<iframe src="${src}" width="${width}" height="${height}" title="${title}" style="border: 0" loading="lazy"></iframe>`;
  }
  for (const id of ["embed-width", "embed-height"]) byId(id).addEventListener("input", showEmbedCode);

  // Return the few lines that play a sheet: its position moves by one frame at a time.
  function sheetCode() {
    const { frames, size_px: size, key } = pair;
    const name = `strip-${key.slice(0, 8)}`;
    return [
      "<style>",
      `#${name} {`,
      `  width: ${size}px;`,
      `  height: ${size}px;`,
      `  background: url("${absolute(isthmus.sheetPath(key))}") 0 0;`,
      `  animation: ${name} ${Number((frames * 0.2).toFixed(2))}s steps(${frames}) infinite alternate;`,
      "}",
      `@keyframes ${name} {`,
      `  to { background-position: -${frames * size}px 0; }`,
      "}",
      `</style><div id="${name}"></div>`,
    ].join("\n");
  }

  const copies = {
    "copy-link": ["The link", () => `${location.href.split(/[?#]/)[0]}#pair=${pair.key}`],
    "copy-spec": ["The spec", () => byId("pair-spec").textContent],
    "copy-css": ["The HTML", () => byId("css").textContent],
    "copy-embed": ["The HTML", () => byId("embed-code").textContent],
  };
  for (const [id, [what, text]] of Object.entries(copies))
    byId(id).addEventListener("click", () => isthmus.copy(text(), byId("copied"), what));

  return { show };
})();
