"use strict";

// Playing and scrubbing tiles.
//
// Pointing at a tile plays it, so moving over the picture cannot also scrub. Moving over the bar below the picture
// does: the frame at the pointer shows at once, without pressing, and the bar shows which frame it is. Dragging across
// the picture scrubs too, because that is what readers try with a finger. The tile then stays at that frame until the
// pointer or the focus leaves it.
(() => {
  const { byId } = isthmus;
  const { pairOf, show } = isthmus.strip;
  const less = matchMedia("(prefers-reduced-motion: reduce)");
  const PARTS = { a: ".to-neuron", b: ".to-neuron + .to-neuron", f: ".star", c: ".add" }; // of a tile, by key
  const playing = () => document.body.classList.contains("playing");

  // Say which frame is shown, or that the strip plays: its frames change too quickly to say them.
  function tell(tile) {
    const { frames } = pairOf(tile);
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
    return Math.floor(((event.clientX - left) / width) * pairOf(tile).frames);
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
      const target = tile && frameAfter(event.key, frameOnScreen(tile), pairOf(tile).frames);
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
    const href = isthmus.address.to("pair", pairOf(tile).key);
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
  function setSpeed() {
    document.body.style.setProperty("--frame-seconds", `${0.2 / Number(speed.value)}s`);
    dispatchEvent(new Event("motion"));
  }
  speed.addEventListener("change", setSpeed);

  Object.assign(isthmus.strip, { tell, listen, frameAfter, playing, frameMilliseconds: () => 200 / Number(speed.value) });
  listen(byId("grid"));
  setSpeed();
})();
