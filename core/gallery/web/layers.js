"use strict";

// What is drawn over the land: scores as colours, strips as lines, names, and the marks of cursor and window. Every
// function draws on a canvas whose lengths are `scale` pixels for a pixel of the land, `left` and `top` being the
// point of the land in its upper left corner. `ratio` is the number of its pixels in a pixel of CSS.
isthmus.layers = (() => {
  const { pairs, places } = isthmus;
  const RAMP = [
    [46, 20, 92],
    [28, 138, 140],
    [255, 226, 92],
  ]; // red, green and blue, from the least to the greatest value; land.css has the same colours
  const DEAD = [214, 40, 40];
  const OPAQUE = 0.72; // of 1, the colours of a score
  const LINES = 2000; // in one picture
  const NAMED = 44; // px of CSS, the smallest cell with a name
  const IN_FULL = 240; // px of CSS, the smallest cell with the name of its layer
  const NAME_AT = 0.36; // of a cell, below the middle of a place
  const SHADE = "rgb(0 0 0 / 75%)";
  const SCORES = {
    compared: {
      label: "Activation, share of its reach",
      meaning:
        "activation in the middle of the neuron's place, as a share of the greatest that its portrait or the end of its strip has",
      values: () => places.compared,
    },
    strips: {
      label: "Number of strips",
      meaning: "number of pairs of this atlas that the neuron belongs to",
      values: () => (pairs.count ? [...places.stripsAt] : []),
    },
    dead: { label: "Not excited", meaning: isthmus.UNEXCITED, values: () => places.dead },
  };

  const isKnown = (value) => value !== null && value !== undefined;

  // Return the scores that are known of some neuron.
  const known = () => Object.entries(SCORES).filter(([, { values }]) => values().some(isKnown));

  // ---- scores as colours

  // Return a picture with one pixel for each place, and the least and the greatest value.
  function colours(name) {
    const values = SCORES[name].values();
    const [least, most] = values
      .filter(isKnown)
      .reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
    const picture = new ImageData(places.columns, places.rows);
    values.forEach((value, number) => {
      if (!isKnown(value) || (name === "dead" && !value)) return;
      const colour = name === "dead" ? DEAD : between(most > least ? (value - least) / (most - least) : 1);
      picture.data.set([...colour, 255], 4 * number);
    });
    const canvas = isthmus.element("canvas", { width: places.columns, height: places.rows });
    canvas.getContext("2d").putImageData(picture, 0, 0);
    return { canvas, least, most, count: values.filter(Boolean).length };
  }

  function between(share) {
    const place = share * (RAMP.length - 1);
    const first = Math.min(RAMP.length - 2, Math.floor(place));
    return RAMP[first].map((from, i) => Math.round(from + (place - first) * (RAMP[first + 1][i] - from)));
  }

  function drawColours(context, view, { canvas }) {
    const [firstRow, lastRow, firstColumn, lastColumn] = visible(view);
    const [across, down] = [lastColumn - firstColumn + 1, lastRow - firstRow + 1];
    const side = places.cell_px * view.scale;
    const start = [firstColumn, firstRow].map((at, axis) => at * side - (axis ? view.top : view.left) * view.scale);
    context.imageSmoothingEnabled = false;
    context.globalAlpha = OPAQUE;
    context.drawImage(canvas, firstColumn, firstRow, across, down, ...start, across * side, down * side);
    context.globalAlpha = 1;
  }

  // Return the first and the last row and column of the places in view.
  function visible({ left, top, width, height }) {
    const cell = places.cell_px;
    const inside = (at, cells) => Math.max(0, Math.min(cells - 1, Math.floor(at / cell)));
    return [
      inside(top, places.rows),
      inside(top + height, places.rows),
      inside(left, places.columns),
      inside(left + width, places.columns),
    ];
  }

  // ---- strips as lines

  // Return the ends of all strips between two neurons of the land, x, y, x, y, those with the most similar frames first.
  function lines() {
    const { distance } = pairs.columns;
    const key = ([, , row]) => (Number.isNaN(distance[row]) ? Infinity : distance[row]);
    const sorted = [...places.strips].sort((p, q) => key(p) - key(q));
    const ends = sorted.map(([a, b]) => [places.centre(a), places.centre(b)]);
    return Float32Array.from(ends.flatMap(([from, to]) => [from.x, from.y, to.x, to.y]));
  }

  // Draw the lines that are in view. Return how many are, and how many of them are drawn.
  function drawLines(context, view, ends) {
    const { left, top, scale, ratio } = view;
    const [right, bottom] = [left + view.width, top + view.height];
    const path = new Path2D();
    let seen = 0;
    for (let i = 0; i < ends.length; i += 4) {
      const [x, y, x2, y2] = [ends[i], ends[i + 1], ends[i + 2], ends[i + 3]];
      if (Math.max(x, x2) < left || Math.min(x, x2) > right || Math.max(y, y2) < top || Math.min(y, y2) > bottom)
        continue;
      if (++seen > LINES) continue;
      path.moveTo((x - left) * scale, (y - top) * scale);
      path.lineTo((x2 - left) * scale, (y2 - top) * scale);
    }
    for (const [style, width] of [
      ["rgb(0 0 0 / 60%)", 3],
      ["#fff", 1.25],
    ]) {
      context.strokeStyle = style;
      context.lineWidth = width * ratio;
      context.stroke(path);
    }
    return [seen, Math.min(seen, LINES)];
  }

  // ---- names

  // Write the names of the neurons in view into the lower part of their places, white with a dark edge, so that they are
  // legible on any ground. As in the grid, a sign marks those that are not excited.
  function drawNames(context, view) {
    const { left, top, scale, ratio } = view;
    const side = places.cell_px * scale;
    const cell = side / ratio; // px of CSS
    if (cell < NAMED) return;
    const size = (cell < 80 ? 11 : cell < IN_FULL ? 13 : 16) * ratio;
    Object.assign(context, { font: `600 ${size}px system-ui, sans-serif`, textAlign: "center", textBaseline: "middle" });
    Object.assign(context, { fillStyle: "#fff", strokeStyle: SHADE, lineWidth: size / 4, lineJoin: "round" });
    const layer = `\u2068${places.layer}\u2069`; // isolated: its writing direction does not move the channel
    const isFull = cell >= IN_FULL && context.measureText(`${layer}:00000`).width < side;
    const [firstRow, lastRow, firstColumn, lastColumn] = visible(view);
    for (let row = firstRow; row <= lastRow; row++)
      for (let column = firstColumn; column <= lastColumn; column++) {
        const number = row * places.columns + column;
        if (number >= places.count) continue;
        const text = `${isFull ? layer : ""}:${places.neurons[number].channel}${places.dead[number] ? " ∅" : ""}`;
        const { x, y } = places.centre(number);
        const middle = [Math.round((x - left) * scale), Math.round((y - top) * scale + NAME_AT * side)];
        context.strokeText(text, ...middle);
        context.fillText(text, ...middle);
      }
  }

  // ---- marks

  // Outline a square around a point of the land, one cell large.
  function drawSquare(context, { left, top, scale, ratio }, { x, y }, colour) {
    const side = places.cell_px * scale;
    const corner = [(x - left) * scale - side / 2, (y - top) * scale - side / 2];
    for (const [style, width] of [
      [SHADE, 5],
      [colour, 2],
    ]) {
      context.strokeStyle = style;
      context.lineWidth = width * ratio;
      context.strokeRect(...corner, side, side);
    }
  }

  // Draw a cross in the middle of the view, where the keys act.
  function drawCross(context, { ratio }) {
    const { width, height } = context.canvas;
    const [x, y, arm] = [width / 2, height / 2, 9 * ratio];
    for (const [style, thickness] of [
      [SHADE, 5],
      ["#fff", 2],
    ]) {
      context.strokeStyle = style;
      context.lineWidth = thickness * ratio;
      context.beginPath();
      context.moveTo(x - arm, y);
      context.lineTo(x + arm, y);
      context.moveTo(x, y - arm);
      context.lineTo(x, y + arm);
      context.stroke();
    }
  }

  // Draw the line of a flight.
  function drawWay(context, { left, top, scale, ratio }, [from, to]) {
    context.setLineDash([6 * ratio, 6 * ratio]);
    context.strokeStyle = "#fff";
    context.lineWidth = 2 * ratio;
    context.beginPath();
    context.moveTo((from.x - left) * scale, (from.y - top) * scale);
    context.lineTo((to.x - left) * scale, (to.y - top) * scale);
    context.stroke();
    context.setLineDash([]);
  }

  return { SCORES, known, colours, drawColours, lines, drawLines, drawNames, drawSquare, drawCross, drawWay };
})();
