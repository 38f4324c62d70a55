"use strict";

// The picture of two layers: a square for every two channels that have pairs, with channel numbers along both axes. Its
// canvas is as large as the window through which the reader sees a part of it, whatever the zoom. The cursor has
// a canvas of its own, so that moving it does not draw all squares again.
//
// `down` and `across` are ids of neurons; the number of a cell counts row by row, see cells.js.
isthmus.matrixView = (container, { down, across, cells: given }) => {
  const { address, element, pairs } = isthmus;
  const CELL = { usual: 24, most: 64 }; // px, a square with the gap beside it
  const LEVELS = 32; // of strength
  const STEP = 1.5; // of the zoom
  const REACH = 8; // px from the pointer within which a small square counts as pointed at
  const PAGE = 10; // rows
  const widest = String(Math.max(...[down.at(-1), across.at(-1)].map((id) => pairs.neurons[id].channel))).length;
  const AXIS = { left: Math.max(56, 8 * widest + 14), top: 24 }; // px

  const canvases = [element("canvas"), element("canvas", { tabIndex: 0 })];
  const pane = element("div", { className: "pane" }, ...canvases);
  const extent = element("div", {}, pane);
  const frame = element("div", { className: "picture" }, extent);
  const status = element("output");
  const opener = element("button", { type: "button", textContent: "Open" });
  const cursorCanvas = canvases[1];

  let cells = given;
  let levels = []; // for each level of strength the numbers of its cells; the last one has cells without a score
  let size = 1; // px of a cell
  let waiting = 0; // for the next animation frame
  let isZoomed = false; // by the reader
  let cursor = [0, 0]; // row and column
  let touched = false; // the last press came from a finger

  // ---- sizes

  const room = () => [frame.clientWidth - AXIS.left, parseFloat(getComputedStyle(frame).maxHeight) - AXIS.top - 18];

  const whole = () => Math.min(CELL.usual, room()[0] / across.length, room()[1] / down.length);

  function resize() {
    if (frame.clientWidth === 0) return; // another page is shown
    if (!isZoomed) size = whole();
    extent.style.width = `${AXIS.left + across.length * size}px`;
    extent.style.height = `${AXIS.top + down.length * size}px`;
    const sides = [Math.min(frame.clientWidth, extent.offsetWidth), Math.min(frame.clientHeight, extent.offsetHeight)];
    [pane.style.width, pane.style.height] = sides.map((side) => `${side}px`);
    for (const canvas of canvases) {
      const pixels = sides.map((side) => Math.round(side * devicePixelRatio));
      if (canvas.width !== pixels[0]) canvas.width = pixels[0];
      if (canvas.height !== pixels[1]) canvas.height = pixels[1];
    }
    draw();
  }

  // Zoom by a factor. A point, px from the top left corner of the pane, stays where it is: by default the cursor.
  function zoom(factor, point = middleOf(...cursor)) {
    const [x, y] = [
      Math.min(Math.max(AXIS.left, point[0]), pane.clientWidth),
      Math.min(Math.max(AXIS.top, point[1]), pane.clientHeight),
    ];
    const [column, row] = [(frame.scrollLeft + x - AXIS.left) / size, (frame.scrollTop + y - AXIS.top) / size];
    const least = Math.min(2, whole());
    size = Math.max(least, Math.min(CELL.most, size * factor));
    isZoomed = true;
    resize();
    frame.scrollLeft = column * size - x + AXIS.left;
    frame.scrollTop = row * size - y + AXIS.top;
    drawCursor();
  }

  function showWhole() {
    isZoomed = false;
    resize();
    [frame.scrollLeft, frame.scrollTop] = [0, 0];
    reveal();
  }

  // Return the middle of a cell, px from the top left corner of the pane.
  const middleOf = (row, column) => [
    AXIS.left + (column + 0.5) * size - frame.scrollLeft,
    AXIS.top + (row + 0.5) * size - frame.scrollTop,
  ];

  // ---- drawing

  // Clear a canvas and return its context, in CSS pixels.
  function clear(canvas) {
    const context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.scale(devicePixelRatio, devicePixelRatio);
    return context;
  }

  function drawSoon() {
    waiting ||= requestAnimationFrame(draw);
  }

  // Draw the squares pixel by pixel: a hundred thousand rectangles of the canvas would take seconds without a GPU.
  function draw() {
    waiting = 0;
    const { width, height } = canvases[0];
    if (!frame.isConnected || width === 0 || height === 0) return;
    const context = clear(canvases[0]);
    const [red, green, blue] = getComputedStyle(pane).color.match(/[\d.]+/g).map(Number);
    const image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const columns = endsOf(across.length, frame.scrollLeft, AXIS.left, width);
    const rows = endsOf(down.length, frame.scrollTop, AXIS.top, height);
    levels.forEach((numbers, level) => {
      const isUnknown = level > LEVELS;
      const alpha = isUnknown ? 0.6 : 0.15 + (0.85 * level) / LEVELS;
      const colour = ((Math.round(255 * alpha) << 24) | (blue << 16) | (green << 8) | red) >>> 0;
      for (const number of numbers) {
        const [left, right] = columns[number % across.length];
        const [top, bottom] = rows[Math.floor(number / across.length)];
        for (let y = top; y < bottom; y++)
          if (!isUnknown) pixels.fill(colour, y * width + left, y * width + right);
          else for (let x = left; x < right; x++) if ((x + y) % 4 === 0) pixels[y * width + x] = colour; // hatched
      }
    });
    context.putImageData(image, 0, 0);
    drawCursor();
  }

  // Return where the squares begin and end along an axis, in pixels of the canvas between the axis and the other side.
  function endsOf(length, scrolled, axis, side) {
    const ratio = devicePixelRatio;
    const gap = size < 4 ? 0 : 1; // px
    return Array.from({ length }, (_, index) => {
      const start = axis + index * size - scrolled;
      const [from, to] = [start, start + size - gap].map((at) => Math.round(at * ratio));
      return [Math.max(Math.ceil(axis * ratio), from), Math.min(side, Math.max(to, from + 1))];
    });
  }

  // Draw the channels along both axes, as many as fit beside those of the cursor.
  function drawAxes(context, [cursorX, cursorY]) {
    context.fillText("a ↓ b →", 2, 16);
    const [wide, high] = [8 * widest + 10, 15]; // px of a label
    const [everyColumn, everyRow] = [wide, high].map((needed) => stepOf(needed / size));
    const first = (scrolled, every) => Math.ceil(scrolled / size / every) * every;
    for (let column = first(frame.scrollLeft, everyColumn); column < across.length; column += everyColumn) {
      const [x] = middleOf(0, column);
      if (x > pane.clientWidth - wide / 2) break;
      if (x > AXIS.left && Math.abs(x - cursorX) > wide) label(context, across[column], x, true);
    }
    for (let row = first(frame.scrollTop, everyRow); row < down.length; row += everyRow) {
      const [, y] = middleOf(row, 0);
      if (y > pane.clientHeight - 4) break;
      if (y > AXIS.top + 4 && Math.abs(y - cursorY) > high) label(context, down[row], y, false);
    }
  }

  // Return the smallest of 1, 2, 5, 10, 20, 50, ... that is at least a number.
  function stepOf(number) {
    const power = 10 ** Math.max(0, Math.floor(Math.log10(number)));
    return power * ([1, 2, 5].find((digit) => digit * power >= number) ?? 10);
  }

  function label(context, id, at, isAcross) {
    context.textAlign = isAcross ? "center" : "right";
    context.fillText(pairs.neurons[id].channel, isAcross ? at : AXIS.left - 6, isAcross ? 16 : at + 4);
    context.textAlign = "left";
  }

  // Draw the axes and the cursor, whose channels are on both axes.
  function drawCursor() {
    const context = clear(cursorCanvas);
    const { color, outlineColor, fontFamily } = getComputedStyle(cursorCanvas);
    const [x, y] = middleOf(...cursor);
    const [isColumnSeen, isRowSeen] = [x > AXIS.left - 1 && x < pane.clientWidth, y > AXIS.top - 1 && y < pane.clientHeight];
    context.font = `12px ${fontFamily}`;
    context.fillStyle = color;
    drawAxes(context, [isColumnSeen ? x : -Infinity, isRowSeen ? y : -Infinity]);
    context.font = `bold 12px ${fontFamily}`;
    context.fillStyle = context.strokeStyle = outlineColor;
    if (isColumnSeen) label(context, across[cursor[1]], x, true);
    if (isRowSeen) label(context, down[cursor[0]], y, false);
    if (!isColumnSeen || !isRowSeen) return;
    const side = Math.max(6, size);
    context.lineWidth = 2;
    context.strokeRect(x - side / 2, y - side / 2, side - 1, side - 1);
  }

  // ---- the cursor

  const numberAt = ([row, column]) => row * across.length + column;

  // Return the place in the cells of the cursor's cell, or undefined, and its neurons.
  const atCursor = () => ({
    place: cells.places.get(numberAt(cursor)),
    from: pairs.neurons[down[cursor[0]]],
    to: pairs.neurons[across[cursor[1]]],
  });

  function moveTo(row, column) {
    const within = (wanted, ids) => Math.max(0, Math.min(ids.length - 1, wanted));
    cursor = [within(row, down), within(column, across)];
    tell();
    drawCursor();
  }

  function tell() {
    const { place, from, to } = atCursor();
    const count = cells.counts[place];
    const mean = cells.means === cells.counts ? "" : `, ${isthmus.short(cells.means[place])}`;
    const facts = count ? `: ${isthmus.pairsIn(count)}${mean}` : ": no pair";
    status.replaceChildren(isthmus.inWords(from), " to ", isthmus.inWords(to), facts);
    opener.disabled = !count;
  }

  // Scroll as little as needed to show the cursor.
  function reveal() {
    const [x, y] = middleOf(...cursor);
    const half = size / 2;
    frame.scrollLeft += Math.min(0, x - half - AXIS.left) + Math.max(0, x + half - pane.clientWidth);
    frame.scrollTop += Math.min(0, y - half - AXIS.top) + Math.max(0, y + half - pane.clientHeight);
    drawCursor();
  }

  // Return the nearest cell with pairs in a direction, or the cursor's own.
  function next([rows, columns]) {
    let [row, column] = cursor;
    do [row, column] = [row + rows, column + columns];
    while (down[row] !== undefined && across[column] !== undefined && !cells.places.has(numberAt([row, column])));
    return down[row] === undefined || across[column] === undefined ? cursor : [row, column];
  }

  // Open the pair of the cursor's cell, or its pairs if there are several.
  async function open() {
    const { place, from, to } = atCursor();
    if (place === undefined) return;
    if (cells.counts[place] > 1) return (location.hash = address.toGrid({ a: from.name, b: to.name }));
    const row = cells.first[place];
    await pairs.load(["key"], [row]);
    if (frame.isConnected) location.hash = address.to("pair", pairs.key(row));
  }

  // ---- pointer and keys

  // Return row and column under the pointer, or null over an axis. Small squares are found nearby.
  function under(event) {
    const { left, top } = pane.getBoundingClientRect();
    const [x, y] = [event.clientX - left - AXIS.left, event.clientY - top - AXIS.top];
    if (x < 0 || y < 0) return null;
    const [row, column] = [Math.floor((y + frame.scrollTop) / size), Math.floor((x + frame.scrollLeft) / size)];
    if (cells.places.has(numberAt([row, column]))) return [row, column];
    const reach = Math.ceil((touched ? 2 * REACH : REACH) / size);
    let best = size < 2 * REACH ? reach + 1 : 0;
    let nearest = [row, column];
    for (let r = Math.max(0, row - reach); r <= Math.min(down.length - 1, row + reach); r++)
      for (let c = Math.max(0, column - reach); c <= Math.min(across.length - 1, column + reach); c++) {
        const distance = Math.hypot(r - row, c - column);
        if (distance < best && cells.places.has(numberAt([r, c]))) [best, nearest] = [distance, [r, c]];
      }
    return nearest;
  }

  cursorCanvas.addEventListener("pointerdown", (event) => (touched = event.pointerType === "touch"));
  cursorCanvas.addEventListener("pointermove", (event) => {
    const cell = event.pointerType === "touch" ? null : under(event);
    if (cell) moveTo(...cell);
  });
  cursorCanvas.addEventListener("click", (event) => {
    const cell = under(event);
    if (!cell) return;
    const isSame = numberAt(cell) === numberAt(cursor);
    moveTo(...cell);
    if (!touched || isSame) open(); // the first tap of a finger shows the cell, the second opens it
  });
  frame.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      const { left, top } = pane.getBoundingClientRect();
      zoom(STEP ** (-Math.sign(event.deltaY) / 2), [event.clientX - left, event.clientY - top]);
    },
    { passive: false },
  );
  frame.addEventListener("scroll", drawSoon, { passive: true });

  const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const JUMPS = { PageUp: [-PAGE, 0], PageDown: [PAGE, 0], Home: [0, -Infinity], End: [0, Infinity] };
  const ZOOMS = { "+": STEP, "=": STEP, "-": 1 / STEP };
  cursorCanvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = STEPS[event.key] ?? JUMPS[event.key];
    if (step) {
      moveTo(...(event.shiftKey && event.key in STEPS ? next(step) : [cursor[0] + step[0], cursor[1] + step[1]]));
      reveal();
    } else if (event.key in ZOOMS) zoom(ZOOMS[event.key]);
    else if (event.key === "0") showWhole();
    else if (event.key === "Enter") open();
    else return;
    event.preventDefault();
  });

  // ---- beginning

  // Show other cells of the same channels: another score.
  function set(next) {
    cells = next;
    levels = Array.from({ length: LEVELS + 2 }, () => []);
    for (const [number, place] of cells.places) {
      const share = cells.shares[place];
      levels[Number.isNaN(share) ? LEVELS + 1 : Math.round(LEVELS * Math.max(0, Math.min(1, share)))].push(number);
    }
    tell();
    draw();
  }

  const button = (textContent, title, act) => {
    const made = element("button", { type: "button", textContent, title });
    made.addEventListener("click", act);
    return made;
  };
  cursorCanvas.setAttribute("role", "application");
  const [a, b] = [down[0], across[0]].map((id) => pairs.neurons[id].layer);
  cursorCanvas.setAttribute(
    "aria-label",
    `Channels of ${a} down, of ${b} across; arrow keys move, with Shift to the next pair; Enter opens; plus, minus and 0 zoom`,
  );
  opener.addEventListener("click", open);
  const tools = element("div", { className: "line" }, opener, status, element("span", { className: "zoom" }));
  tools.lastChild.append(
    button("−", "Smaller squares (-)", () => zoom(1 / STEP)),
    button("+", "Larger squares (+)", () => zoom(STEP)),
    button("Whole", "The whole matrix (0)", showWhole),
  );
  container.append(tools, frame);

  const [first] = cells.places.keys(); // of the first pair
  cursor = [Math.floor(first / across.length), first % across.length];
  set(given);
  resize();
  new ResizeObserver(resize).observe(frame);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const redraw = () => (frame.isConnected ? draw() : scheme.removeEventListener("change", redraw));
  scheme.addEventListener("change", redraw);

  return { set };
};
