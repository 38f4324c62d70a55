"use strict";

// A slider over the frames of one strip or several: pointer, arrow keys, and Space, which plays and pauses. While it
// plays, it goes forth and back. A reader who scrubs holds the frame until the pointer leaves.
//
// `show` draws a position, a whole number from 0; its second argument says whether the reader has scrubbed there. `words`
// describes a position for screen readers, which hear it when the strip stops; while it plays they hear that. `button`
// plays and pauses too.
isthmus.scrubber = (slider, { show, words, button }) => {
  let count = 1; // positions
  let position = 0;
  let playing = false;
  let direction = 1;
  let timer = 0; // 0 while the strip stands still
  let isPlayingAll = isthmus.strip.playing();

  function begin(positions, at = 0) {
    count = positions;
    slider.setAttribute("aria-valuemin", 1);
    slider.setAttribute("aria-valuemax", count);
    goTo(at);
    if (isthmus.strip.playing()) playing = true;
    tick();
  }

  function goTo(wanted, isScrubbed = false) {
    position = Math.max(0, Math.min(count - 1, wanted));
    show(position, isScrubbed);
    if (!timer) announce();
  }

  function announce() {
    slider.setAttribute("aria-valuenow", position + 1);
    slider.setAttribute("aria-valuetext", timer ? `playing ${count} frames` : words(position));
  }

  // Move by one frame, and again after its time.
  function tick() {
    clearTimeout(timer);
    timer = playing && count > 1 ? setTimeout(step, isthmus.strip.frameMilliseconds()) : 0;
    button.textContent = playing ? "Pause" : "Play";
    button.classList.toggle("moving", playing);
    announce();
  }

  function step() {
    if (slider.offsetParent === null) return void (timer = 0); // another page is shown
    if (position + direction < 0 || position + direction >= count) direction = -direction;
    goTo(position + direction);
    timer = setTimeout(step, isthmus.strip.frameMilliseconds());
  }

  function play(wanted) {
    playing = wanted;
    tick();
  }

  function hold(wanted) {
    clearTimeout(timer);
    timer = 0;
    goTo(wanted, true);
  }

  // Let the pointer scrub over an element that shows a number of frames side by side, by default one for each position.
  function listenTo(surface, frames = () => count) {
    const follow = ({ clientX }) => {
      const { left, width } = surface.getBoundingClientRect();
      const frame = Math.max(0, Math.min(frames() - 1, Math.floor(((clientX - left) / width) * frames())));
      hold(frames() > 1 ? Math.round((frame / (frames() - 1)) * (count - 1)) : 0);
    };
    surface.addEventListener("pointermove", follow);
    surface.addEventListener("pointerdown", (event) => {
      follow(event);
      surface.setPointerCapture(event.pointerId);
    });
    surface.addEventListener("pointerleave", tick);
  }
  listenTo(slider);

  slider.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const key = { ArrowUp: "ArrowRight", ArrowDown: "ArrowLeft" }[event.key] ?? event.key;
    const target = isthmus.strip.frameAfter(key, position, count);
    if (target === undefined) return;
    event.preventDefault();
    play(false);
    goTo(target, true);
  });
  // Space also works where nothing that it would press or type into has the focus.
  addEventListener("keydown", (event) => {
    const { key, target } = event;
    if (key !== " " || event.ctrlKey || event.metaKey || event.altKey || slider.offsetParent === null) return;
    if (target !== slider && target !== document.body && !target.matches("h2[tabindex='-1']")) return;
    event.preventDefault();
    play(!playing);
  });
  button.addEventListener("click", () => play(!playing));
  addEventListener("motion", () => {
    if (isthmus.strip.playing() === isPlayingAll) return; // only the speed has changed
    isPlayingAll = !isPlayingAll;
    if (slider.offsetParent !== null) play(isPlayingAll);
  });

  return {
    begin,
    goTo,
    play,
    listenTo,
    goToShare: (share) => goTo(Math.round(share * (count - 1))),
    get position() {
      return position;
    },
    get share() {
      return count > 1 ? position / (count - 1) : 0;
    },
  };
};
