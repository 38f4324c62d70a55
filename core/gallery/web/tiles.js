"use strict";

// The pictures of the land: a pyramid of tiles. Each level is half as large as the next, the last is the land itself. A
// tile that is not loaded yet is drawn from the finest tile above it that is.
isthmus.tiles = ({ tiles: folder, tile_px, levels, width, height }, { onLoad, onMissing }) => {
  const KEPT = 64; // tiles, at least: 1 MB each
  const AT_ONCE = 8; // requests
  const PIXELS = 8; // from this scale on, single pixels are seen as squares
  const SLACK = 0.25; // levels: a tile is enlarged by up to a fifth before finer ones are loaded
  const loaded = new Map(); // path -> bitmap, the one that was drawn last at the end
  const loading = new Map(); // path -> image
  const missing = new Set(); // paths
  let wanted = []; // paths, the most important first

  const pathOf = (level, column, row) => `${folder}${level}/${column}_${row}.webp`;
  const shrinkage = (level) => 2 ** (levels - 1 - level); // pixels of the land in a pixel of the level, along one side
  const pixels = (level) => [width, height].map((side) => Math.ceil(side / shrinkage(level)));

  // Draw the part of the land around a point. `scale` is in pixels of the canvas for a pixel of the land.
  function draw(context, { x, y, scale }) {
    const { canvas } = context;
    const level = Math.max(0, Math.min(levels - 1, levels - 1 + Math.ceil(Math.log2(scale) - SLACK)));
    const side = tile_px * shrinkage(level);
    const [left, top] = [x - canvas.width / 2 / scale, y - canvas.height / 2 / scale];
    const ends = pixels(level).map((size) => Math.ceil(size / tile_px) - 1);
    const range = (from, length, last) => [
      Math.max(0, Math.floor(from / side)),
      Math.min(last, Math.floor((from + length / scale) / side)),
    ];
    const [firstColumn, lastColumn] = range(left, canvas.width, ends[0]);
    const [firstRow, lastRow] = range(top, canvas.height, ends[1]);
    const visible = [];
    context.imageSmoothingEnabled = scale < PIXELS;
    for (let row = firstRow; row <= lastRow; row++)
      for (let column = firstColumn; column <= lastColumn; column++) {
        visible.push([Math.hypot((column + 0.5) * side - x, (row + 0.5) * side - y), pathOf(level, column, row)]);
        drawTile(context, level, column, row, { left, top, scale });
      }
    visible.sort((p, q) => p[0] - q[0]);
    want([pathOf(0, 0, 0), ...visible.map(([, path]) => path)]);
  }

  // Draw a tile, or what is known of it. Its edges are rounded to whole pixels, so that no seam shows the background.
  function drawTile(context, level, column, row, { left, top, scale }) {
    for (let up = 0; up <= level; up++) {
      const path = pathOf(level - up, column >> up, row >> up);
      const bitmap = loaded.get(path);
      if (!bitmap) continue;
      loaded.delete(path);
      loaded.set(path, bitmap);
      const parts = 2 ** up;
      const [sizes, shrunk] = [pixels(level), shrinkage(level)];
      const [across, down] = [column, row].map((at, axis) => {
        const length = Math.min(tile_px, sizes[axis] - at * tile_px);
        const origin = axis ? top : left;
        const start = Math.round((at * tile_px * shrunk - origin) * scale);
        const end = Math.round(((at * tile_px + length) * shrunk - origin) * scale);
        return { from: ((at % parts) * tile_px) / parts, length: length / parts, start, size: end - start };
      });
      const source = [across.from, down.from, across.length, down.length];
      context.drawImage(bitmap, ...source, across.start, down.start, across.size, down.size);
      return;
    }
  }

  // ---- loading

  function want(paths) {
    wanted = paths.filter((path) => !loaded.has(path) && !missing.has(path));
    for (const [path, image] of loading)
      if (!wanted.includes(path)) {
        image.src = ""; // ends the request
        loading.delete(path);
      }
    loadNext();
    for (const [path, bitmap] of loaded) {
      if (loaded.size <= Math.max(KEPT, 2 * paths.length)) break;
      if (path === pathOf(0, 0, 0)) continue;
      bitmap.close();
      loaded.delete(path);
    }
  }

  function loadNext() {
    for (const path of wanted) {
      if (loading.size >= AT_ONCE) return;
      if (!loading.has(path) && !loaded.has(path) && !missing.has(path)) load(path);
    }
  }

  // Load a tile. A bitmap without conversion is decoded outside of the browser's cache of decoded images, which in
  // Chromium grows to half a gigabyte before it gives anything back.
  async function load(path) {
    const image = new Image();
    loading.set(path, image);
    const whole = new Promise((resolve) => {
      image.addEventListener("load", () => resolve(true));
      image.addEventListener("error", () => resolve(false));
    });
    image.src = path;
    const bitmap = (await whole) && (await createImageBitmap(image, { colorSpaceConversion: "none" }).catch(() => null));
    if (loading.get(path) !== image) return bitmap && bitmap.close();
    loading.delete(path);
    if (bitmap) loaded.set(path, bitmap);
    else missing.add(path);
    bitmap ? onLoad() : onMissing(path);
    loadNext();
  }

  return { draw };
};
