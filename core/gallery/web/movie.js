"use strict";

// A movie: legs, each a road in one direction, one after the other on an HTML canvas. A leg ends on the portrait that
// the next leg begins with, so the junction is one frame. A position counts frames from the beginning of the movie;
// between two frames, both are mixed.
//
// A picture is drawn once it is decoded. Until then the last picture stays, and a playing movie waits at the junction.
// A strip whose picture cannot be read is skipped.
isthmus.movie = (canvas, { onMove, onMissing, onEnd }) => {
  const context = canvas.getContext("2d");
  let legs = []; // see roads.leg; with `start` and `steps`, in frames, and once loaded `image` or `missing`
  let position = 0;
  let request = 0; // for the next animation frame; 0 while nothing plays
  let before = 0; // ms, time of the last animation frame

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

  // Return the index of the leg at a position; a junction belongs to the leg that ends there.
  const legAt = (position) => legs.findIndex(({ start, steps }) => position <= start + steps);

  function goTo(wanted) {
    position = Math.max(0, Math.min(end(), wanted));
    const index = legAt(position);
    for (const leg of legs.slice(index, index + 2)) load(leg);
    draw();
    onMove?.();
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
        onMissing(leg);
        draw();
      },
    );
  }

  // ---- drawing

  function draw() {
    const [leg, offset] = visible();
    if (!leg?.image) return;
    const { size_px } = leg.pair;
    if (canvas.width !== size_px) canvas.width = canvas.height = size_px;
    const frame = Math.floor(offset);
    drawFrame(leg, frame, 1);
    if (offset > frame) drawFrame(leg, frame + 1, offset - frame);
  }

  // Return the leg to draw and the offset in it, in frames. For a missing strip, draw the portrait at its end, or at
  // its beginning if no strip follows.
  function visible() {
    const index = legAt(position);
    const leg = legs[index];
    if (!leg?.missing) return [leg, position - leg?.start];
    const next = legs[index + 1];
    if (next && !next.missing) return [next, 0];
    const last = legs[index - 1];
    return [last, last?.steps];
  }

  function drawFrame(leg, frame, share) {
    const { size_px } = leg.pair;
    const size = leg.image.naturalHeight; // less than size_px if the strip is wider than WebP allows
    context.globalAlpha = share;
    context.drawImage(leg.image, isthmus.roads.numberIn(leg, frame) * size, 0, size, size, 0, 0, size_px, size_px);
  }

  function clear() {
    set([]);
    context.clearRect(0, 0, canvas.width, canvas.height);
  }

  // ---- playing

  function play() {
    if (request) return;
    before = performance.now();
    request = requestAnimationFrame(tick);
  }

  function pause() {
    cancelAnimationFrame(request);
    request = 0;
  }

  function tick(now) {
    request = requestAnimationFrame(tick);
    const frames = Math.min(1, (now - before) / isthmus.strip.frameMilliseconds()); // no jump after the page was paused
    before = now;
    const index = legAt(position);
    const [leg, next] = [legs[index], legs[index + 1]];
    if (!leg.image && !leg.missing) return;
    const last = leg.start + leg.steps;
    const wanted = (leg.missing ? last : position) + Math.max(0, frames);
    if (wanted < last || next?.image || next?.missing) return goTo(wanted);
    goTo(last);
    if (next) return;
    pause();
    onEnd();
  }

  return {
    set,
    goTo,
    load,
    clear,
    play,
    pause,
    end,
    // Return the leg at the position, and the number of its frame, from 0.
    now: () => {
      const leg = legs[legAt(position)];
      return { leg, frame: Math.round(position - leg?.start) };
    },
    isPlaying: () => request !== 0,
    get position() {
      return position;
    },
  };
};
