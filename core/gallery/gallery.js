"use strict";

// The gallery: tiles that play a strip each, a filter, an order, and a dialog with one pair.
//
// Pairs come from the index shards, classic scripts that call isthmus.data(). Names and reasons are data from outside
// and enter the page only as text and attributes, never as HTML. What the reader has chosen (filter, order, open pair)
// is in the hash of the address, so that it can be kept and sent.
const isthmus = (() => {
  const BATCH = 60; // tiles made at a time, about one large screen

  const byId = (id) => document.getElementById(id);
  const [filter, sort, size, play, count] = ["filter", "sort", "size", "play", "count"].map(byId);
  const [error, state, grid, more, dialog] = ["error", "state", "grid", "more", "pair"].map(byId);

  const pairs = []; // all, in the order of the shards
  const pairOfKey = new Map();
  const tileOfKey = new Map(); // tiles outlive a change of filter, so that their images do not load again
  const arrived = new Set(); // the script elements of shards whose data came
  let view = []; // the pairs that pass the filter, in the chosen order; the first grid.children.length have a tile
  let opened = null; // the pair in the dialog

  // ---- data

  function data(columns) {
    arrived.add(document.currentScript);
    for (let row = 0; row < columns.key.length; row++) {
      const at = (name) => (Array.isArray(columns[name]) ? columns[name][row] : columns[name]);
      const pair = {
        key: at("key"),
        a: { layer: columns.layers[at("a_layer")], channel: at("a_channel") },
        b: { layer: columns.layers[at("b_layer")], channel: at("b_channel") },
        failed: at("status") === 1,
        reason: columns.reason[row] ?? "no reason was recorded",
        frames: at("frames"),
        sizePx: at("size_px"),
        steps: at("steps"),
        kept: at("kept").split(" ").filter(Boolean),
        objective: at("objective"),
        activationA: at("activation_a"),
        activationB: at("activation_b"),
        smoothness: at("smoothness"),
      };
      pair.text = `${written(pair.a)} ${written(pair.b)} ${pair.key} ${status(pair)}`.toLowerCase();
      pairs.push(pair);
      pairOfKey.set(pair.key, pair);
    }
  }

  const written = (neuron) => `${neuron.layer}:${neuron.channel}`;
  const status = (pair) => (pair.failed ? "failed" : "done");
  // As in core/records.py; a checkpoint's strip has its number of updates after the key.
  const sheetPath = (key, step) => `sheets/${key.slice(0, 2)}/${key}${step ? `-${step}` : ""}.png`;
  const previewPath = (key) => `previews/${key.slice(0, 2)}/${key}.webp`;

  // ---- which pairs, in which order

  const alphabetic = new Intl.Collator("en", { numeric: true }).compare; // block9 before block10
  const byNeuron = (p, q) => alphabetic(p.layer, q.layer) || p.channel - q.channel;
  const smallestFirst = (value) => (p, q) => {
    // Pairs without a value, the failed ones, come last.
    const [x, y] = [value(p) ?? Infinity, value(q) ?? Infinity];
    return x === y ? 0 : x - y;
  };
  const ORDERS = {
    order: null,
    name: (p, q) => byNeuron(p.a, q.a) || byNeuron(p.b, q.b),
    smoothness: smallestFirst((pair) => pair.smoothness),
    activation: smallestFirst((pair) => (pair.failed ? null : -(pair.activationA + pair.activationB))),
  };

  function refresh() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    view = pairs.filter((pair) => words.every((word) => pair.text.includes(word)));
    if (ORDERS[sort.value]) view.sort(ORDERS[sort.value]);

    count.value = `${view.length.toLocaleString("en")} of ${pairs.length.toLocaleString("en")} pairs`;
    showState();
    grid.replaceChildren();
    if (scrollY > grid.offsetTop) scrollTo(0, 0); // the old place in the list means nothing in the new one
    addBatch();
  }

  function showState() {
    state.hidden = view.length > 0 || (pairs.length === 0 && !error.hidden);
    if (pairs.length === 0) {
      state.textContent = "This atlas has no pairs yet. Pairs appear here when some are rendered and it is published again.";
    } else {
      const clear = element("button", { type: "button", textContent: "Clear the filter" });
      clear.addEventListener("click", () => {
        filter.value = "";
        refresh();
        writeHash();
        filter.focus();
      });
      state.replaceChildren("No pair matches ", element("bdi", { textContent: filter.value.trim() }), ". ", clear);
    }
  }

  // ---- tiles

  // Observing the end of the list anew reports at once whether it is still near the screen: one batch leads to the next
  // until the screen is full.
  const nearTheEnd = new IntersectionObserver(([entry]) => entry.isIntersecting && addBatch(), {
    rootMargin: "1000px",
  });

  function addBatch() {
    nearTheEnd.unobserve(more);
    const first = grid.children.length;
    grid.append(...view.slice(first, first + BATCH).map(tileOf));
    if (grid.children.length < view.length) nearTheEnd.observe(more);
  }

  function tileOf(pair) {
    if (!tileOfKey.has(pair.key)) tileOfKey.set(pair.key, makeTile(pair));
    return tileOfKey.get(pair.key);
  }

  function makeTile(pair) {
    const tile = byId("tile").content.firstElementChild.cloneNode(true);
    const player = tile.querySelector(".player");
    const names = tile.querySelector(".names");
    names.append(neuron(pair.a), neuron(pair.b));
    names.title = `a  ${written(pair.a)}\nb  ${written(pair.b)}`;
    names.href = `#pair=${encodeURIComponent(pair.key)}`;
    names.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return; // a new tab or window
      event.preventDefault();
      open(pair);
    });

    if (pair.failed) {
      player.replaceChildren(failure("Failed", pair.reason));
      player.addEventListener("click", () => open(pair));
      return tile;
    }
    tile.querySelector(".numbers").append(
      number(pair.activationA, "activation of a at the first frame"),
      " → ",
      number(pair.activationB, "activation of b at the last frame"),
      element("span", { className: "gap" }),
      number(pair.smoothness, "mean squared difference of neighbouring frames", "Δ "),
    );
    const strip = tile.querySelector(".strip");
    strip.width = pair.frames * pair.sizePx;
    strip.height = pair.sizePx;
    strip.src = previewPath(pair.key);
    strip.addEventListener("error", () => player.replaceChildren(failure("No picture", `at ${previewPath(pair.key)}`)));
    tile.style.setProperty("--frames", pair.frames);
    makePlayer(tile, player, strip, pair);
    return tile;
  }

  function neuron({ layer, channel }) {
    const name = byId("neuron").content.firstElementChild.cloneNode(true);
    name.querySelector(".layer").textContent = layer;
    name.querySelector(".channel").textContent = `:${channel}`;
    return name;
  }

  function failure(title, reason) {
    const text = element("p", { className: "window failure" });
    text.append(element("b", { textContent: title }), " ", element("bdi", { textContent: reason }));
    return text;
  }

  function number(value, meaning, prefix = "") {
    const text = element("span", { textContent: prefix + short(value), title: meaning });
    text.prepend(element("span", { className: "unseen", textContent: `${meaning}: ` }));
    return text;
  }

  const threeDigits = new Intl.NumberFormat("en", { minimumSignificantDigits: 3, maximumSignificantDigits: 3 });
  const short = (value) => (value === null ? "–" : threeDigits.format(value));

  const element = (tag, properties) => Object.assign(document.createElement(tag), properties);

  // ---- playing and scrubbing
  //
  // Pointing at a tile plays it, so a bare move over the picture cannot also scrub. The bar under the picture does: the
  // frame beneath the pointer shows at once, without pressing, and the bar tells which it is. Dragging across the
  // picture does the same, which is what a finger tries. From then on the tile is held at that frame, so that it can be
  // looked at, until the pointer or the focus leaves; then it plays again when pointed at.

  function makePlayer(tile, player, strip, pair) {
    const { frames } = pair;
    let pressedAt = null; // x of the pointer, px
    let scrubbing = false; // with the pointer pressed; the click that ends it opens nothing

    Object.entries({
      role: "slider",
      tabindex: 0,
      "aria-label": `${written(pair.a)} to ${written(pair.b)}`,
      "aria-valuemin": 1,
      "aria-valuemax": frames,
    }).forEach(([name, value]) => player.setAttribute(name, value));
    show(0);

    function show(frame) {
      const valid = Math.max(0, Math.min(frames - 1, frame));
      tile.style.setProperty("--frame", valid);
      player.setAttribute("aria-valuenow", valid + 1);
      player.setAttribute("aria-valuetext", `frame ${valid + 1} of ${frames}`);
    }

    function hold(frame) {
      tile.classList.add("held");
      show(frame);
    }

    const onRail = (event) => event.target.closest(".rail") !== null;

    function frameUnder(event) {
      const { left, width } = player.getBoundingClientRect();
      return Math.floor(((event.clientX - left) / width) * frames);
    }

    function frameOnScreen() {
      const shift = new DOMMatrix(getComputedStyle(strip).transform).m41;
      return Math.round((-shift / strip.offsetWidth) * frames);
    }

    player.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      pressedAt = event.clientX;
      scrubbing = onRail(event);
      if (scrubbing) hold(frameUnder(event));
      player.setPointerCapture(event.pointerId);
    });
    player.addEventListener("pointermove", (event) => {
      if (pressedAt !== null && Math.abs(event.clientX - pressedAt) > 4) scrubbing = true; // a click may tremble
      if (pressedAt === null ? onRail(event) : scrubbing) hold(frameUnder(event));
    });
    for (const end of ["pointerup", "pointercancel"]) player.addEventListener(end, () => (pressedAt = null));
    player.addEventListener("click", () => {
      if (!scrubbing) open(pair);
      scrubbing = false;
    });
    player.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const now = frameOnScreen();
      const target = {
        ArrowLeft: now - 1,
        ArrowDown: now - 1,
        ArrowRight: now + 1,
        ArrowUp: now + 1,
        Home: 0,
        End: frames - 1,
      }[event.key];
      if (target !== undefined) hold(target);
      else if (event.key === "Enter") open(pair);
      else return;
      event.preventDefault();
    });
    tile.addEventListener("pointerleave", () => player.matches(":focus-visible") || tile.classList.remove("held"));
    player.addEventListener("blur", () => tile.classList.remove("held"));
  }

  play.addEventListener("click", () => {
    const playing = document.body.classList.toggle("playing");
    play.textContent = playing ? "Pause all" : "Play all";
  });

  // ---- one pair

  function open(pair) {
    opened = pair;
    const [frames, facts, links] = ["frames", "facts", "links"].map(byId);
    byId("pair-names").replaceChildren(neuron(pair.a), neuron(pair.b));
    byId("reason").textContent = pair.failed ? pair.reason : "";
    byId("reason").hidden = !pair.failed;

    frames.replaceChildren();
    links.replaceChildren();
    byId("checkpoints").replaceChildren(...pair.kept.map((step) => stripAt(pair, step)));
    if (!pair.failed) {
      frames.style.setProperty("--frames", pair.frames);
      frames.style.setProperty("--half", Math.ceil(pair.frames / 2));
      for (let frame = 0; frame < pair.frames; frame++) frames.append(frameOfSheet(pair, frame));
      links.append(link("Sheet, PNG, lossless", sheetPath(pair.key)), link("Preview, WebP", previewPath(pair.key)));
    }
    links.append(link("Link to this pair", `#pair=${encodeURIComponent(pair.key)}`));

    facts.replaceChildren();
    const fact = (term, value) => {
      const row = element("div", {});
      row.append(element("dt", { textContent: term }), element("dd", { textContent: value ?? "–" }));
      facts.append(row);
    };
    fact("status", status(pair));
    fact("frames", `${pair.frames} of ${pair.sizePx} × ${pair.sizePx} px`);
    fact("activation of a, first frame", pair.activationA);
    fact("activation of b, last frame", pair.activationB);
    fact("difference of neighbouring frames, Δ", pair.smoothness);
    fact(`objective${pair.steps === null ? "" : ` at step ${pair.steps}`}`, pair.objective);
    fact("key", pair.key);

    if (!dialog.open) dialog.showModal();
    writeHash();
  }

  function frameOfSheet(pair, frame) {
    const cell = element("li", {});
    const image = element("img", {
      src: sheetPath(pair.key),
      alt: `frame ${frame + 1}`,
      width: pair.sizePx,
      height: pair.sizePx,
    });
    // The sheet covers its cell's height; the position says which part of its width is seen.
    image.style.objectPosition = `${pair.frames > 1 ? (frame / (pair.frames - 1)) * 100 : 0}% 0`;
    const last = frame === pair.frames - 1;
    cell.append(image, element("small", { textContent: `${frame + 1}${frame === 0 ? " · a" : last ? " · b" : ""}` }));
    return cell;
  }

  function stripAt(pair, step) {
    const figure = element("figure", {});
    const caption = `after ${step} updates`;
    const [width, height] = [pair.frames * pair.sizePx, pair.sizePx];
    const image = element("img", { src: sheetPath(pair.key, step), alt: `all frames ${caption}`, width, height });
    figure.append(element("figcaption", { textContent: caption }), image);
    return figure;
  }

  const link = (text, href) => element("a", { textContent: text, href, target: "_blank", rel: "noopener" });

  byId("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    const tile = tileOfKey.get(opened.key);
    opened = null;
    writeHash();
    // The browser gives the focus back to where it was; a pair opened by its address had none.
    if (!grid.contains(document.activeElement)) tile?.querySelector("[tabindex], a").focus();
  });

  // ---- the address

  function readHash() {
    const chosen = new URLSearchParams(location.hash.slice(1));
    filter.value = chosen.get("filter") ?? "";
    sort.value = chosen.get("sort") in ORDERS ? chosen.get("sort") : "order";
    refresh();
    const key = chosen.get("pair");
    if (pairOfKey.has(key)) open(pairOfKey.get(key));
    else if (dialog.open) dialog.close();
  }

  function writeHash() {
    const chosen = new URLSearchParams();
    if (filter.value.trim()) chosen.set("filter", filter.value.trim());
    if (sort.value !== "order") chosen.set("sort", sort.value);
    if (opened) chosen.set("pair", opened.key);
    const hash = chosen.size ? `#${chosen}` : "";
    history.replaceState(null, "", location.pathname + location.search + hash);
  }

  // ---- start

  let typing; // browsers limit how often the address may change
  filter.addEventListener("input", () => {
    refresh();
    clearTimeout(typing);
    typing = setTimeout(writeHash, 200);
  });
  sort.addEventListener("change", () => {
    refresh();
    writeHash();
  });
  size.value = parseInt(getComputedStyle(grid).getPropertyValue("--tile"), 10);
  size.addEventListener("input", () => grid.style.setProperty("--tile", `${size.value}px`));
  window.addEventListener("hashchange", readHash);

  // Deferred scripts, the shards among them, have all run or failed when the document is ready.
  document.addEventListener("DOMContentLoaded", () => {
    const shards = [...document.querySelectorAll("script[data-shard]")];
    const missing = shards.filter((shard) => !arrived.has(shard)).map((shard) => shard.getAttribute("src"));
    error.hidden = missing.length === 0;
    error.textContent =
      `${missing.length} of ${shards.length} data files could not be read, so pairs are missing here: ` +
      `${missing.join(", ")}. Copy the whole folder of the atlas, or publish it again.`;
    readHash();
  });

  return { data };
})();
