"use strict";

// Curves as inline SVG, stretched to the width of their container.
isthmus.chart = (() => {
  const HEIGHT = 100;

  // Return a chart of curves over common axes. Each of `curves` has a class, `kind`, and `values`. Value i is drawn at
  // x = i + 1/2, which is the middle of frame i in a strip of the same width.
  function chart(curves, label) {
    const all = curves.flatMap(({ values }) => values);
    const [least, most] = [Math.min(0, ...all), Math.max(...all, 0)];
    const y = (value) => (most === least ? HEIGHT : HEIGHT * (1 - (value - least) / (most - least)));
    const width = Math.max(1, ...curves.map(({ values }) => values.length));
    const picture = isthmus.drawing("svg", {
      viewBox: `0 -4 ${width} ${HEIGHT + 8}`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": label,
    });
    picture.append(isthmus.drawing("line", { class: "zero", x1: 0, x2: width, y1: y(0), y2: y(0) }));
    for (const { kind, values } of curves) {
      const points = values.map((value, i) => `${i + 0.5},${y(value).toFixed(2)}`).join(" ");
      picture.append(isthmus.drawing("polyline", { class: kind, points }));
    }
    const axis = (value, place) =>
      isthmus.element("span", { className: `axis ${place}`, textContent: isthmus.short(value) });
    return isthmus.element("div", { className: "chart" }, picture, axis(most, "upper"), axis(least, "lower"));
  }

  return chart;
})();
