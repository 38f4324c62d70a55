"use strict";

// The camera over the land: the point in the middle of the view, x and y in pixels of the land, and the zoom in pixels
// of the screen for a pixel of the land. It is moved by pointers, wheel and keys, and it flies from place to place.
isthmus.camera = (canvas, { width, height }, { onMove, onTap, onPoint }) => {
  const CLOSEST = 16; // px of the screen for a pixel of the land
  const STEP = 80; // px of the screen that an arrow key moves by
  const TAP = 4; // px; a pointer that moves less does not drag
  const CURVATURE = 1.4; // of flights: the larger, the more they zoom out
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const now = { x: width / 2, y: height / 2, zoom: 1 };
  const pointers = new Map(); // id -> [x, y] in the canvas
  let dragged = 0; // px since the first pointer was pressed
  let request = 0; // of the next frame of a flight, 0 if the camera rests

  const size = () => [canvas.clientWidth, canvas.clientHeight];

  // Return the zoom at which the whole land is in view.
  const whole = () => Math.min(CLOSEST, ...size().map((side, axis) => (side || 1) / [width, height][axis]));

  function moveTo({ x, y, zoom }) {
    now.zoom = Math.max(Math.min(whole(), 1), Math.min(CLOSEST, zoom));
    now.x = Math.max(0, Math.min(width, x));
    now.y = Math.max(0, Math.min(height, y));
    onMove();
  }

  // Return the point of the land at a point of the canvas.
  function pointAt([px, py]) {
    const [w, h] = size();
    return { x: now.x + (px - w / 2) / now.zoom, y: now.y + (py - h / 2) / now.zoom };
  }

  const isOnLand = ({ x, y }) => x >= 0 && y >= 0 && x < width && y < height;

  // Return where the camera is after zooming about a point of the canvas, which stays where it is.
  function zoomed(factor, [px, py]) {
    const zoom = Math.max(Math.min(whole(), 1), Math.min(CLOSEST, now.zoom * factor));
    const [w, h] = size();
    const { x, y } = pointAt([px, py]);
    return { x: x - (px - w / 2) / zoom, y: y - (py - h / 2) / zoom, zoom };
  }

  // ---- flying

  function stop() {
    cancelAnimationFrame(request);
    request = 0;
  }

  // Fly to a place. For a reader who asked for less motion, be there at once.
  function fly(to, milliseconds) {
    stop();
    if (still.matches || !isOpen()) return moveTo(to);
    const way = wayBetween({ ...now }, to, Math.max(...size()));
    const duration = milliseconds ?? Math.min(1600, 300 + 350 * way.length);
    const started = performance.now();
    const tick = (time) => {
      const share = Math.min(1, Math.max(0, (time - started) / duration));
      request = share < 1 ? requestAnimationFrame(tick) : 0;
      moveTo(share < 1 ? way.at(share * share * (3 - 2 * share)) : to);
    };
    request = requestAnimationFrame(tick);
  }

  const isOpen = () => canvas.offsetParent !== null;

  // Return the smooth way between two places: J. J. van Wijk and W. A. A. Nuij, "Smooth and efficient zooming and
  // panning", 2003, equations 9. `side` is that of the view in px.
  function wayBetween(from, to, side) {
    const [start, end] = [side / from.zoom, side / to.zoom];
    const [dx, dy] = [to.x - from.x, to.y - from.y];
    const distance = Math.hypot(dx, dy);
    const square = CURVATURE ** 2;
    if (distance < start / 1000) {
      const length = Math.abs(Math.log(end / start)) / CURVATURE;
      const at = (share) => ({ x: to.x, y: to.y, zoom: side / (start * (end / start) ** share) });
      return { length, at };
    }
    const rate = (extent, sign) => {
      const b = (end ** 2 - start ** 2 + sign * square ** 2 * distance ** 2) / (2 * extent * square * distance);
      return -Math.asinh(b);
    };
    const [first, last] = [rate(start, 1), rate(end, -1)];
    const length = (last - first) / CURVATURE;
    const at = (share) => {
      const place = CURVATURE * length * share + first;
      const gone = (start / square) * (Math.cosh(first) * Math.tanh(place) - Math.sinh(first));
      const extent = (start * Math.cosh(first)) / Math.cosh(place);
      return { x: from.x + (dx * gone) / distance, y: from.y + (dy * gone) / distance, zoom: side / extent };
    };
    return { length, at };
  }

  // ---- pointers

  const within = (event) => {
    const { left, top } = canvas.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  };

  // Return the middle of the pressed pointers, and the distance of two of them.
  function grip() {
    const [[x, y], [x2, y2] = [x, y]] = [...pointers.values()];
    return { middle: [(x + x2) / 2, (y + y2) / 2], spread: Math.hypot(x - x2, y - y2) };
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    stop();
    canvas.setPointerCapture(event.pointerId);
    if (pointers.size === 0) dragged = 0;
    if (pointers.size < 2) pointers.set(event.pointerId, within(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    onPoint(within(event));
    if (!pointers.has(event.pointerId)) return;
    const before = grip();
    pointers.set(event.pointerId, within(event));
    const after = grip();
    const [dx, dy] = after.middle.map((at, axis) => at - before.middle[axis]);
    dragged += Math.hypot(dx, dy) + Math.abs(after.spread - before.spread);
    if (dragged < TAP) return;
    const factor = before.spread && after.spread ? after.spread / before.spread : 1;
    const { x, y, zoom } = zoomed(factor, before.middle);
    moveTo({ x: x - dx / zoom, y: y - dy / zoom, zoom });
  });
  for (const end of ["pointerup", "pointercancel"])
    canvas.addEventListener(end, (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("pointerleave", () => onPoint(null));
  canvas.addEventListener("click", (event) => dragged < TAP && onTap(within(event), event));
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      stop();
      const px = event.deltaY * (event.deltaMode === 1 ? 30 : event.deltaMode === 2 ? 400 : 1);
      moveTo(zoomed(2 ** (-Math.max(-400, Math.min(400, px)) / (event.ctrlKey ? 100 : 300)), within(event)));
    },
    { passive: false },
  );

  // ---- keys

  const zoomAt = (factor, place = size().map((side) => side / 2)) => fly(zoomed(factor, place), 180);
  const showWhole = () => fly({ x: width / 2, y: height / 2, zoom: whole() });

  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (step && !event.shiftKey) {
      stop();
      moveTo({ x: now.x + (step[0] * STEP) / now.zoom, y: now.y + (step[1] * STEP) / now.zoom, zoom: now.zoom });
    } else if (event.key === "+" || event.key === "=") zoomAt(1.5);
    else if (event.key === "-" || event.key === "_") zoomAt(1 / 1.5);
    else if (event.key === "Home") showWhole();
    else return;
    event.preventDefault();
  });

  return { now, moveTo, fly, stop, zoomAt, showWhole, whole, pointAt, isOnLand };
};
