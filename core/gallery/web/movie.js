"use strict";

// Strips on a canvas, as one movie. A leg of it is a strip in one of its directions, and ends on the portrait that the
// next one begins with, so that a junction is one frame. A position counts frames since the beginning; between two frames
// both are mixed.
//
// A picture is drawn once it is decoded; until then what was drawn before stays, and a movie that plays waits for it at
// the junction. A strip whose picture cannot be read is passed over.
isthmus.movie = (canvas, { moved, lost, ended }) => {
  const context = canvas.getContext("2d");
  let legs = []; // see roads.leg, with `start` and `steps` in frames, and then `image`, or `missing`
  let position = 0;
  let asked = 0; // for the next animation frame; 0 while nothing plays
  let before = 0; // ms, of the last animation frame

  function set(next) {
    pause();
    legs = next;
    position = 0;
    let start = 0;
    for (const leg of legs) {
      Object.assign(leg, { start, steps: leg.pair.frames - 1 });
      start += leg.steps;
    }
    goTo(0);
  }

  const end = () => (legs.length ? legs.at(-1).start + legs.at(-1).steps : 0);

  // The number of the leg that has a position; a junction belongs to the leg that ends there.
  const placeOf = (position) => legs.findIndex(({ start, steps }) => position <= start + steps);

  function goTo(wanted) {
    position = Math.max(0, Math.min(end(), wanted));
    const place = placeOf(position);
    for (const leg of legs.slice(place, place + 2)) load(leg);
    draw();
    moved?.();
  }

  // Decode the picture of a leg, once.
  function load(leg) {
    if (leg.image || leg.missing || leg.isLoading) return;
    leg.isLoading = true;
    const image = isthmus.element("img", { src: isthmus.previewPath(leg.pair.key) });
    image.decode().then(
      () => {
        leg.image = image;
        draw();
      },
      () => {
        leg.missing = true;
        lost(leg);
        draw();
      },
    );
  }

  // ---- drawing

  function draw() {
    const [leg, offset] = standing();
    if (!leg?.image) return;
    const { size_px } = leg.pair;
    if (canvas.width !== size_px) canvas.width = canvas.height = size_px;
    const frame = Math.floor(offset);
    drawFrame(leg, frame, 1);
    if (offset > frame) drawFrame(leg, frame + 1, offset - frame);
  }

  // Leg and offset to be seen: where a strip is missing, the portrait at its end, or at its beginning if nothing follows.
  function standing() {
    const place = placeOf(position);
    const leg = legs[place];
    if (!leg?.missing) return [leg, position - leg?.start];
    const next = legs[place + 1];
    if (next && !next.missing) return [next, 0];
    const last = legs[place - 1];
    return [last, last?.steps];
  }

  function drawFrame(leg, frame, share) {
    const size = leg.pair.size_px;
    context.globalAlpha = share;
    context.drawImage(leg.image, isthmus.roads.numberIn(leg, frame) * size, 0, size, size, 0, 0, size, size);
  }

  function clear() {
    set([]);
    context.clearRect(0, 0, canvas.width, canvas.height);
  }

  // ---- playing

  function play() {
    if (asked) return;
    before = performance.now();
    asked = requestAnimationFrame(tick);
  }

  function pause() {
    cancelAnimationFrame(asked);
    asked = 0;
  }

  function tick(now) {
    asked = requestAnimationFrame(tick);
    const frames = Math.min(1, (now - before) / isthmus.strip.frameMilliseconds()); // at most, after a pause of the page
    before = now;
    const place = placeOf(position);
    const [leg, next] = [legs[place], legs[place + 1]];
    if (!leg.image && !leg.missing) return;
    const last = leg.start + leg.steps;
    const wanted = (leg.missing ? last : position) + Math.max(0, frames);
    if (wanted < last || next?.image || next?.missing) return goTo(wanted);
    goTo(last);
    if (next) return;
    pause();
    ended();
  }

  return {
    set,
    goTo,
    load,
    clear,
    play,
    pause,
    end,
    // The leg that is seen, and the number of its frame, from 0.
    now: () => {
      const leg = legs[placeOf(position)];
      return { leg, frame: Math.round(position - leg?.start) };
    },
    isPlaying: () => asked !== 0,
    get position() {
      return position;
    },
  };
};
