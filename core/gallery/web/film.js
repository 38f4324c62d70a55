"use strict";

// The frames of a strip at full quality: all in a row, and one alone in a window.
isthmus.film = (() => {
  const { element } = isthmus;

  // Create the row of all frames.
  function row(pair) {
    const path = isthmus.stripPath(pair);
    const made = element("div", { className: "frame-row" });
    made.style.setProperty("--frames", pair.frames);
    for (let frame = 0; frame < pair.frames; frame++)
      made.append(isthmus.frameOf(path, pair, frame, `frame ${frame + 1}`));
    return made;
  }

  // Let a window show a strip; `show` chooses the frame. Its picture is the whole strip, moved behind the window.
  function load(frameWindow, pair, onMissing) {
    const path = isthmus.stripPath(pair);
    const image = isthmus.picture(path, () => {
      image.remove();
      onMissing(path);
    });
    frameWindow.style.setProperty("--frames", pair.frames);
    frameWindow.replaceChildren(image);
  }

  const show = (frameWindow, frame) => frameWindow.style.setProperty("--frame", frame);

  return { row, load, show };
})();
