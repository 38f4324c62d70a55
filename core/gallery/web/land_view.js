"use strict";

// The view of the land: its tiles under a camera, and over them what the reader has chosen to see. `onLines` gets the
// numbers of strips in view and of those drawn.
isthmus.landView = (canvas, { onMove, onTap, onPoint, onMissing, onLines }) => {
  const { layers, places } = isthmus;
  const context = canvas.getContext("2d", { alpha: false });
  const CURSOR = "#ffd94a";
  const tiles = isthmus.tiles(places, { onLoad: drawSoon, onMissing });
  const camera = isthmus.camera(canvas, places, { onMove: handleMove, onTap, onPoint });
  const shown = { colours: null, lines: null, cursor: null, way: null };
  let request = 0; // of the next picture, 0 if none is needed
  let isWhole = true; // whether the whole land was in view when the camera last moved
  let isGuided = false; // whether the page moves the camera, and not the reader

  // Choose what is drawn: `colours` of a score, ends of `lines`, number of the neuron at the `cursor`, ends of a `way`.
  function choose(choices) {
    Object.assign(shown, choices);
    drawSoon();
  }

  // Move the camera for the page, so that `onMove` knows that the reader did not.
  function guide(to) {
    camera.stop();
    isGuided = true;
    camera.moveTo(to);
    isGuided = false;
  }

  const showWhole = () => guide({ x: places.width / 2, y: places.height / 2, zoom: camera.whole() });

  function handleMove() {
    const { x, y, zoom } = camera.now;
    const isCentred = Math.hypot(x - places.width / 2, y - places.height / 2) < 1;
    isWhole = isCentred && Math.abs(zoom / camera.whole() - 1) < 1e-3;
    drawSoon();
    onMove(isGuided);
  }

  // Give the canvas one pixel for each pixel of the screen. If the whole land was in view, it stays so.
  function fit() {
    const stays = isWhole;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.round(side * devicePixelRatio));
    if (width === 0 || (canvas.width === width && canvas.height === height)) return;
    [canvas.width, canvas.height] = [width, height];
    if (stays) showWhole();
    draw();
  }

  function drawSoon() {
    request ||= requestAnimationFrame(draw);
  }

  function draw() {
    cancelAnimationFrame(request);
    request = 0;
    if (canvas.clientWidth === 0) return;
    const ratio = canvas.width / canvas.clientWidth;
    const { x, y, zoom } = camera.now;
    const scale = zoom * ratio;
    const [width, height] = [canvas.width / scale, canvas.height / scale];
    const view = { left: x - width / 2, top: y - height / 2, width, height, scale, ratio };
    context.fillStyle = getComputedStyle(canvas).backgroundColor;
    context.fillRect(0, 0, canvas.width, canvas.height);
    tiles.draw(context, { x, y, scale });
    if (shown.colours) layers.drawColours(context, view, shown.colours);
    if (shown.lines) onLines(layers.drawLines(context, view, shown.lines));
    layers.drawNames(context, view);
    if (shown.cursor !== null) layers.drawSquare(context, view, places.centre(shown.cursor), CURSOR);
    if (shown.way) {
      layers.drawWay(context, view, shown.way);
      layers.drawSquare(context, view, camera.now, "#fff");
    } else if (canvas.matches(":focus-visible")) layers.drawCross(context, view);
  }

  new ResizeObserver(fit).observe(canvas);
  for (const name of ["focus", "blur"]) canvas.addEventListener(name, drawSoon);

  return { camera, shown, choose, guide, showWhole, fit, drawSoon };
};
