"use strict";

// A tile: a strip that plays and can be scrubbed, shown as one frame in a window or as a film of all frames.
//
// Pointing at a tile plays it, so moving over the picture cannot also scrub. Moving over the bar below the picture
// does: the frame at the pointer shows at once, without pressing, and the bar shows which frame it is. Dragging across
// the picture scrubs too, because that is what readers try with a finger. The tile then stays at that frame until the
// pointer or the focus leaves it.
isthmus.strip = (() => {
  const { byId, element } = isthmus;
  const pairs = new WeakMap(); // tile -> pair
  const less = matchMedia("(prefers-reduced-motion: reduce)");
  const PARTS = { a: ".to-neuron", b: ".to-neuron + .to-neuron", f: ".star", c: ".add" };

  // Create the tile of a pair. `sort` names the score that the pairs are sorted by, which the tile shows. With `film`, a
  // box of { width, height, frames }, the tile shows the whole strip, otherwise one frame, at rest the middle one. With
  // `scores`, their numbers stand in columns.
  function makeTile(pair, { sort, film, scores } = {}) {
    const tile = byId("tile").content.firstElementChild.cloneNode(true);
    const [player, names, numbers, acts] = tile.children;
    pairs.set(tile, pair);
    tile.dataset.key = pair.key;
    names.append(...["a", "b"].map((end) => isthmus.neuronLink(pair[end], isthmus.markOf(pair, end))));
    for (const link of names.children) link.tabIndex = -1; // for the keyboard there are the keys a and b
    numbers.href = isthmus.address.to("pair", pair.key);
    if (scores) {
      const values = scores.map((name) => score(isthmus.pairs.columns[name][pair.row], name));
      numbers.replaceWith(...values.map((one) => Object.assign(one, { className: "number" })));
    } else if (!pair.failed) {
      const name = sort && sort !== "activation" ? sort : "smoothness";
      numbers.append(endsOf(pair), score(pair[name], name, `${isthmus.pairs.SCORES[name].sign} `));
    }
    acts.prepend(Object.assign(isthmus.favourites.button(pair.key), { tabIndex: -1 })); // for the keyboard: key f
    acts.lastElementChild.dataset.compare = pair.key;
    if (pair.failed) player.replaceWith(failed(pair, isthmus.failure("Failed", pair.reason)));
    else showStrip(tile, pair, film);
    return tile;
  }

  function showStrip(tile, pair, film) {
    const player = tile.firstElementChild;
    const shown = player.firstElementChild;
    const marks = ["a", "b"].map((end) => [end, isthmus.MARKS[isthmus.markOf(pair, end)]]).filter(([, mark]) => mark);
    const attributes = {
      role: "slider",
      tabindex: 0,
      "aria-label": [pair.name, ...marks.map(([end, { word }]) => `${end} ${word}`)].join(", "),
      "aria-valuemin": 1,
      "aria-valuemax": pair.frames,
    };
    for (const [name, value] of Object.entries(attributes)) player.setAttribute(name, value);
    tile.style.setProperty("--frames", pair.frames);
    const missing = (_, words) => tile.contains(player) && player.replaceWith(failed(pair, words));
    const picture = (className = "") =>
      Object.assign(isthmus.picture(isthmus.previewPath(pair.key), missing), { className });
    if (!film) shown.append(picture("strip"));
    else if (pair.frames <= film.frames) shown.append(picture(), element("div", { className: "marker" }));
    else shown.append(element("div", { className: "lead" }, picture("strip")), linesOf(pair.frames, film, picture));
    shown.classList.toggle("film", Boolean(film));
    if (marks.length) {
      const title = marks.map(([end, { word, meaning }]) => `${end} ${word}: ${meaning}`).join("\n");
      const sign = marks.map(([, mark]) => mark.sign).join(" ");
      shown.append(element("span", { className: "sign", textContent: sign, title, ariaHidden: "true" }));
    }
    show(tile, film ? 0 : (pair.frames - 1) >> 1);
  }

  // Lay many frames side by side in several lines, as large as they fit beside a large frame.
  function linesOf(frames, { width, height }, picture) {
    let [size, count] = [0, 1];
    for (let lines = 1; lines <= frames; lines++) {
      const inLine = Math.ceil(frames / lines);
      const fits = Math.min(Math.floor((width - height - 4) / inLine), Math.floor(height / lines));
      if (fits > size) [size, count] = [fits, inLine];
    }
    const made = element("div", { className: "lines" });
    for (let first = 0; first < frames; first += count) {
      const line = element("div", { className: "line" }, picture());
      const values = { "--size": `${size}px`, "--first": first, "--count": Math.min(count, frames - first) };
      for (const [name, value] of Object.entries(values)) line.style.setProperty(name, value);
      made.append(line);
    }
    return made;
  }

  // Create what stands in the place of a picture.
  const failed = (pair, words) =>
    element("a", { className: "player window", href: isthmus.address.to("pair", pair.key) }, words);

  const endsOf = (pair) =>
    element(
      "span",
      {},
      number(pair.activation_a, "activation of a on the first frame"),
      " → ",
      number(pair.activation_b, "activation of b on the last frame"),
    );

  const score = (value, name, sign = "") => {
    const { label, meaning } = isthmus.pairs.SCORES[name];
    return number(value, label, meaning, sign);
  };

  function number(value, label, title = label, sign = "") {
    const unseen = element("span", { className: "unseen", textContent: `${label}: ` });
    return element("span", { title }, unseen, sign + isthmus.short(value));
  }

  // ---- the frame

  function show(tile, frame) {
    const valid = Math.max(0, Math.min(pairs.get(tile).frames - 1, frame));
    tile.style.setProperty("--frame", valid);
    tile.firstElementChild.setAttribute("aria-valuenow", valid + 1);
    tell(tile);
  }

  // Say which frame is shown, or that the strip plays: its frames change too quickly to say them.
  function tell(tile) {
    const { frames } = pairs.get(tile);
    const frame = Number(tile.style.getPropertyValue("--frame")) + 1;
    const text = isPlaying(tile) ? `playing ${frames} frames` : `frame ${frame} of ${frames}`;
    tile.firstElementChild.setAttribute("aria-valuetext", text);
  }

  function isPlaying(tile) {
    if (tile.classList.contains("held")) return false;
    if (tile.classList.contains("moving") || playing()) return true;
    return !less.matches && (tile.matches(":hover") || tile.firstElementChild.matches(":focus-visible"));
  }

  // Play a tile until the pointer or the focus leaves it.
  function move(tile) {
    tile.classList.remove("held");
    tile.classList.add("moving");
    tell(tile);
  }

  function hold(tile, frame) {
    tile.classList.remove("moving");
    tile.classList.add("held");
    show(tile, frame);
  }

  function frameUnder(tile, event) {
    const { left, width } = tile.querySelector(".rail").getBoundingClientRect();
    return Math.floor(((event.clientX - left) / width) * pairs.get(tile).frames);
  }

  function frameOnScreen(tile) {
    const thumb = tile.querySelector(".thumb");
    return Math.round(new DOMMatrix(getComputedStyle(thumb).transform).m41 / thumb.getBoundingClientRect().width);
  }

  // Return the frame that a key leads to, or undefined if the key does not scrub.
  function frameAfter(key, now, frames) {
    return { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: frames - 1 }[key];
  }

  // Make all tiles in an element answer to pointer and keys.
  function listen(container) {
    let pressed = null; // the tile under the pointer when it was pressed
    let pressedAt = 0; // x, px
    let scrubbing = false; // with the pointer pressed; the click that ends scrubbing opens nothing
    const tileAt = (event) => event.target.closest(".player[role=slider]")?.parentElement;
    const onRail = (event) => event.target.closest(".rail") !== null;

    container.addEventListener("pointerdown", (event) => {
      pressed = event.button === 0 ? tileAt(event) : null;
      if (!pressed) return;
      pressedAt = event.clientX;
      scrubbing = onRail(event);
      if (scrubbing) hold(pressed, frameUnder(pressed, event));
      pressed.firstElementChild.setPointerCapture(event.pointerId);
    });
    container.addEventListener("pointermove", (event) => {
      if (pressed && Math.abs(event.clientX - pressedAt) > 4) scrubbing = true; // px; less is a click
      const tile = pressed ?? tileAt(event);
      if (tile && (pressed ? scrubbing : onRail(event))) hold(tile, frameUnder(tile, event));
    });
    for (const end of ["pointerup", "pointercancel"]) container.addEventListener(end, () => (pressed = null));
    container.addEventListener("click", (event) => {
      const tile = tileAt(event);
      if (tile && !scrubbing) open(tile, event);
      scrubbing = false;
    });
    container.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
      const part = event.target.matches(".player") && PARTS[event.key];
      const tile = tileAt(event);
      const target = tile && frameAfter(event.key, frameOnScreen(tile), pairs.get(tile).frames);
      if (part) event.target.parentElement.querySelector(part)?.click();
      else if (!tile) return;
      else if (target !== undefined) hold(tile, target);
      else if (event.key === " ") isPlaying(tile) ? hold(tile, frameOnScreen(tile)) : move(tile);
      else if (event.key === "Enter") open(tile, event);
      else return;
      event.preventDefault();
    });
    container.addEventListener("focusin", (event) => tileAt(event) && tell(tileAt(event)));
    for (const leave of ["pointerout", "focusout"]) {
      container.addEventListener(leave, (event) => {
        const tile = event.target.closest(".tile");
        if (!tile || tile.contains(event.relatedTarget)) return;
        if (leave === "pointerout" && tile.firstElementChild.matches(":focus-visible")) return;
        tile.classList.remove("held", "moving");
        if (tile.firstElementChild.matches("[role=slider]")) tell(tile);
      });
    }
  }

  function open(tile, { ctrlKey, metaKey }) {
    const href = isthmus.address.to("pair", pairs.get(tile).key);
    ctrlKey || metaKey ? window.open(href) : (location.hash = href);
  }

  // ---- all tiles

  const play = byId("play");
  const speed = byId("speed");

  play.addEventListener("click", () => {
    play.textContent = document.body.classList.toggle("playing") ? "Pause all" : "Play all";
    dispatchEvent(new Event("motion"));
  });
  addEventListener("motion", () => {
    for (const player of document.querySelectorAll(".page.shown .player[role=slider]")) tell(player.parentElement);
  });
  speed.addEventListener("change", () => {
    document.body.style.setProperty("--frame-seconds", `${0.2 / Number(speed.value)}s`);
    dispatchEvent(new Event("motion"));
  });

  const playing = () => document.body.classList.contains("playing");

  return {
    makeTile,
    listen,
    frameAfter,
    playing,
    frameMilliseconds: () => 200 / Number(speed.value),
  };
})();
