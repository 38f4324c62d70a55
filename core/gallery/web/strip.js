"use strict";

// A tile: one frame of a strip in a window, which plays and can be scrubbed.
//
// Pointing at a tile plays it, so a bare move over the picture cannot also scrub. The bar under the picture does: the
// frame beneath the pointer shows at once, without pressing, and the bar tells which it is. Dragging across the picture
// does the same, which is what a finger tries. From then on the tile is held at that frame, so that it can be looked at,
// until the pointer or the focus leaves; then it plays again when pointed at.
isthmus.strip = (() => {
  const { byId, element } = isthmus;
  const pairs = new WeakMap(); // tile -> pair

  // `sort` is the score that the pairs are sorted by, if any: then it is the one to show.
  function tile(pair, sort) {
    const made = byId("tile").content.firstElementChild.cloneNode(true);
    const [player, names, numbers] = made.children;
    const href = isthmus.address.to("pair", pair.key);
    pairs.set(made, pair);
    made.dataset.key = pair.key;
    names.append(isthmus.neuronName(pair.a), isthmus.neuronName(pair.b));
    names.title = `a  ${pair.a.name}\nb  ${pair.b.name}`;
    names.href = href;
    if (pair.failed) {
      player.replaceWith(failed("Failed", pair.reason, href));
      return made;
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
    made.style.setProperty("--frames", pair.frames);
    const attributes = {
      role: "slider",
      tabindex: 0,
      "aria-label": pair.name,
      "aria-valuemin": 1,
      "aria-valuemax": pair.frames,
    };
    for (const [name, value] of Object.entries(attributes)) player.setAttribute(name, value);
    show(made, 0);
    return made;
  }

  // What stands in the place of a picture.
  function failed(title, reason, href) {
    return element("a", { className: "player window", href }, isthmus.failure(title, reason));
  }

  function number(value, meaning, prefix = "") {
    const unseen = element("span", { className: "unseen", textContent: `${meaning}: ` });
    return element("span", { title: meaning }, unseen, prefix + isthmus.short(value));
  }

  function show(made, frame) {
    const { frames } = pairs.get(made);
    const valid = Math.max(0, Math.min(frames - 1, frame));
    made.style.setProperty("--frame", valid);
    made.firstElementChild.setAttribute("aria-valuenow", valid + 1);
    made.firstElementChild.setAttribute("aria-valuetext", `frame ${valid + 1} of ${frames}`);
  }

  function hold(made, frame) {
    made.classList.add("held");
    show(made, frame);
  }

  function frameUnder(made, event) {
    const { left, width } = made.firstElementChild.getBoundingClientRect();
    return Math.floor(((event.clientX - left) / width) * pairs.get(made).frames);
  }

  function frameOnScreen(made) {
    const strip = made.querySelector(".strip");
    const shift = new DOMMatrix(getComputedStyle(strip).transform).m41;
    return Math.round((-shift / strip.offsetWidth) * pairs.get(made).frames);
  }

  // The frame that a key leads to, or undefined if it is none of those that scrub.
  function frameAfter(key, now, frames) {
    return { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: frames - 1 }[key];
  }

  // Have all tiles in an element answer to pointer and keys.
  function listen(container) {
    let pressed = null; // the tile under the pointer when it was pressed
    let pressedAt = 0; // x, px
    let scrubbing = false; // with the pointer pressed; the click that ends it opens nothing
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
      if (pressed && Math.abs(event.clientX - pressedAt) > 4) scrubbing = true; // a click may tremble
      const made = pressed ?? tileAt(event);
      if (made && (pressed ? scrubbing : onRail(event))) hold(made, frameUnder(made, event));
    });
    for (const end of ["pointerup", "pointercancel"]) container.addEventListener(end, () => (pressed = null));
    container.addEventListener("click", (event) => {
      const made = tileAt(event);
      if (made && !scrubbing) open(made);
      scrubbing = false;
    });
    container.addEventListener("keydown", (event) => {
      const made = tileAt(event);
      if (!made || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
      const target = frameAfter(event.key, frameOnScreen(made), pairs.get(made).frames);
      if (target !== undefined) hold(made, target);
      else if (event.key === "Enter") open(made);
      else return;
      event.preventDefault();
    });
    for (const leave of ["pointerout", "focusout"]) {
      container.addEventListener(leave, (event) => {
        const made = event.target.closest(".tile");
        if (!made || made.contains(event.relatedTarget)) return;
        if (leave === "focusout" || !made.querySelector(".player:focus-visible")) made.classList.remove("held");
      });
    }
  }

  const open = (made) => (location.hash = isthmus.address.to("pair", pairs.get(made).key));

  // ---- all of them

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
    tile,
    listen,
    frameAfter,
    playing: () => document.body.classList.contains("playing"),
    frameMilliseconds: () => 200 / Number(speed.value),
  };
})();
