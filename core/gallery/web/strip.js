"use strict";

// A tile: one frame of a strip in a window. It plays and can be scrubbed.
//
// Pointing at a tile plays it, so moving over the picture cannot also scrub. Moving over the bar below the picture
// does: the frame at the pointer shows at once, without pressing, and the bar shows which frame it is. Dragging across
// the picture scrubs too, because that is what readers try with a finger. The tile then stays at that frame until the
// pointer or the focus leaves it.
isthmus.strip = (() => {
  const { byId, element } = isthmus;
  const pairs = new WeakMap(); // tile -> pair

  // Create the tile of a pair. If the pairs are sorted by a score, `sort` names it and the tile shows it.
  function makeTile(pair, sort) {
    const tile = byId("tile").content.firstElementChild.cloneNode(true);
    const [player, names, numbers] = tile.children;
    const href = isthmus.address.to("pair", pair.key);
    pairs.set(tile, pair);
    tile.dataset.key = pair.key;
    names.append(...["a", "b"].map((end) => isthmus.neuronName(pair[end], pair.dead.includes(end))));
    names.title = `a  ${pair.a.name}\nb  ${pair.b.name}`;
    names.href = href;
    if (pair.failed) {
      player.replaceWith(failed("Failed", pair.reason, href));
      return tile;
    }
    const score = sort && sort !== "activation" ? sort : "smoothness";
    numbers.append(
      number(pair.activation_a, "activation of a on the first frame"),
      " → ",
      number(pair.activation_b, "activation of b on the last frame"),
      element("span", { className: "gap" }),
      number(pair[score], isthmus.pairs.SCORES[score].meaning, `${isthmus.pairs.SCORES[score].sign} `),
    );
    const strip = player.querySelector(".strip");
    strip.addEventListener("error", () =>
      player.replaceWith(failed("No picture", `at ${strip.getAttribute("src")}`, href)),
    );
    strip.src = isthmus.previewPath(pair.key);
    tile.style.setProperty("--frames", pair.frames);
    const attributes = {
      role: "slider",
      tabindex: 0,
      "aria-label": pair.dead.length ? `${pair.name}, not excited: ${pair.dead.join(" and ")}` : pair.name,
      "aria-valuemin": 1,
      "aria-valuemax": pair.frames,
    };
    for (const [name, value] of Object.entries(attributes)) player.setAttribute(name, value);
    if (pair.dead.length) player.title = `${pair.dead.join(" and ")} not excited: ${isthmus.UNEXCITED}`;
    show(tile, 0);
    return tile;
  }

  // Create what stands in the place of a picture.
  function failed(title, reason, href) {
    return element("a", { className: "player window", href }, isthmus.failure(title, reason));
  }

  function number(value, meaning, prefix = "") {
    const unseen = element("span", { className: "unseen", textContent: `${meaning}: ` });
    return element("span", { title: meaning }, unseen, prefix + isthmus.short(value));
  }

  function show(tile, frame) {
    const { frames } = pairs.get(tile);
    const valid = Math.max(0, Math.min(frames - 1, frame));
    tile.style.setProperty("--frame", valid);
    tile.firstElementChild.setAttribute("aria-valuenow", valid + 1);
    tile.firstElementChild.setAttribute("aria-valuetext", `frame ${valid + 1} of ${frames}`);
  }

  function hold(tile, frame) {
    tile.classList.add("held");
    show(tile, frame);
  }

  function frameUnder(tile, event) {
    const { left, width } = tile.firstElementChild.getBoundingClientRect();
    return Math.floor(((event.clientX - left) / width) * pairs.get(tile).frames);
  }

  function frameOnScreen(tile) {
    const strip = tile.querySelector(".strip");
    const shift = new DOMMatrix(getComputedStyle(strip).transform).m41;
    return Math.round((-shift / strip.offsetWidth) * pairs.get(tile).frames);
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
      if (tile && !scrubbing) open(tile);
      scrubbing = false;
    });
    container.addEventListener("keydown", (event) => {
      const tile = tileAt(event);
      if (!tile || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
      const target = frameAfter(event.key, frameOnScreen(tile), pairs.get(tile).frames);
      if (target !== undefined) hold(tile, target);
      else if (event.key === "Enter") open(tile);
      else return;
      event.preventDefault();
    });
    for (const leave of ["pointerout", "focusout"]) {
      container.addEventListener(leave, (event) => {
        const tile = event.target.closest(".tile");
        if (!tile || tile.contains(event.relatedTarget)) return;
        if (leave === "focusout" || !tile.querySelector(".player:focus-visible")) tile.classList.remove("held");
      });
    }
  }

  const open = (tile) => (location.hash = isthmus.address.to("pair", pairs.get(tile).key));

  // ---- all tiles

  const play = byId("play");
  const speed = byId("speed");

  play.addEventListener("click", () => {
    const playing = document.body.classList.toggle("playing");
    play.textContent = playing ? "Pause all" : "Play all";
    play.setAttribute("aria-pressed", playing);
    dispatchEvent(new Event("motion"));
  });
  speed.addEventListener("change", () => {
    document.body.style.setProperty("--frame-seconds", `${0.2 / Number(speed.value)}s`);
    dispatchEvent(new Event("motion"));
  });

  return {
    makeTile,
    listen,
    frameAfter,
    playing: () => document.body.classList.contains("playing"),
    frameMilliseconds: () => 200 / Number(speed.value),
  };
})();
