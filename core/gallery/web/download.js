"use strict";

// Files to take away from the page of a pair: sheet, preview and record, which the atlas has, and animations and frames,
// which the browser makes. Their names say what they are.
isthmus.download = (() => {
  const { byId, element } = isthmus;
  const LONGEST_PART = 60; // characters of a name in the name of a file
  const state = byId("download-state");
  let pair = null;
  let frameShown = () => 0; // the frame that the page shows now

  // Offer the files of a pair; `line` is its record, or null until it is loaded.
  function show(shown, line, frame) {
    pair = shown;
    frameShown = frame;
    state.textContent = "";
    const files = [];
    if (!pair.failed) {
      files.push(file("Sheet, PNG, lossless", isthmus.sheetPath(pair.key), "png", "sheet"));
      files.push(file("Preview, WebP", isthmus.previewPath(pair.key), "webp", "preview"));
    }
    if (line !== null) {
      const href = `data:application/json;charset=utf-8,${encodeURIComponent(`${line}\n`)}`;
      files.push(file("Record, JSON", href, "json"));
    }
    byId("files").replaceChildren(...files);
    for (const part of [byId("movies"), byId("css"), byId("copy-css").parentElement]) part.hidden = pair.failed;
  }

  const file = (textContent, href, suffix, part) => element("a", { textContent, href, download: nameOf(suffix, part) });

  // Return a name such as ATLAS_mixed4a-476_to_mixed4b-3_0123abcd.gif, of characters that every system allows.
  function nameOf(suffix, part = "") {
    const safe = (text) =>
      text
        .replace(/[^A-Za-z0-9_.-]+/g, "-")
        .replace(/^[-.]+|[-.]+$/g, "")
        .slice(0, LONGEST_PART);
    const neuron = ({ layer, channel }) => `${safe(layer)}-${channel}`;
    const { a, b, key } = pair;
    const parts = [safe(document.body.dataset.name), neuron(a), "to", neuron(b), key.slice(0, 8), part];
    return `${parts.filter(Boolean).join("_")}.${suffix}`;
  }

  // ---- what the browser makes

  byId("download").addEventListener("toggle", () => byId("download").open && prepare());

  // Load the encoders, and say so if the browser does not let this page read its own pictures.
  async function prepare() {
    if (!pair || pair.failed) return;
    const wanted = pair;
    const failure = await isthmus.assets.load("animations").then(
      () => isthmus.animations.check(isthmus.stripPath(wanted)),
      ({ message }) => `${message} could not be read.`,
    );
    if (pair !== wanted) return;
    byId("unreadable").hidden = !failure;
    byId("unreadable").textContent = failure ?? "";
    for (const control of byId("movie-form").elements) control.disabled = Boolean(failure);
    const video = failure ? null : isthmus.animations.videoType();
    const button = byId("movie-form").querySelector("[value=video]");
    button.hidden = !video;
    button.textContent = video?.label ?? "";
  }

  byId("movie-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const kind = event.submitter?.value ?? "webp";
    const wanted = pair;
    state.textContent = "Making the file…";
    try {
      const { blob, suffix, part } = await make(kind);
      if (pair !== wanted) return;
      save(blob, nameOf(suffix, part));
      state.textContent = `${nameOf(suffix, part)}, ${isthmus.whole(Math.ceil(blob.size / 1000))} kB`;
    } catch (error) {
      if (pair === wanted) state.textContent = `No file was made: ${error.message}`;
    }
  });

  async function make(kind) {
    await isthmus.assets.load("animations"); // a reader may press a button before `prepare` has loaded them
    const { animations } = isthmus;
    const frames = await animations.read(isthmus.stripPath(pair), pair);
    if (kind === "frame") {
      const number = frameShown();
      return {
        blob: await animations.png(frames[number]),
        suffix: "png",
        part: `frame-${number + 1}-of-${pair.frames}`,
      };
    }
    const sequence = byId("back").checked ? [...frames, ...frames.slice(1, -1).reverse()] : frames;
    return animations[kind](sequence, Number(byId("seconds").value));
  }

  function save(blob, name) {
    const href = URL.createObjectURL(blob);
    element("a", { href, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(href), 60_000); // ms; a browser may ask the reader first
  }

  return { show };
})();
