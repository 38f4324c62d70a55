"use strict";

// Curves as inline SVG, stretched to the width of their container, each on a scale of its own. The ends of the scales
// stand above and below the curves, so that no number covers a curve.
isthmus.chart = (() => {
  const HEIGHT = 100;

  // Return a chart of curves. Each of `curves` has a class, `kind`, a `name` for its numbers, and `values`. Value i is
  // drawn at x = i + 1/2, which is the middle of frame i in a strip of the same width. A curve whose scale has zero in it
  // has a line there.
  function chart(curves, label) {
    const width = Math.max(1, ...curves.map(({ values }) => values.length));
    const picture = isthmus.drawing("svg", {
      viewBox: `0 -4 ${width} ${HEIGHT + 8}`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": label,
    });
    const upper = isthmus.element("p", { className: "axis" });
    const lower = isthmus.element("p", { className: "axis" });
    for (const { kind, name, values } of curves) {
      const [least, most] = [Math.min(...values), Math.max(...values)];
      const y = (value) => (most === least ? HEIGHT / 2 : HEIGHT * (1 - (value - least) / (most - least)));
      if (least < 0 && most > 0)
        picture.append(isthmus.drawing("line", { class: `zero ${kind}`, x1: 0, x2: width, y1: y(0), y2: y(0) }));
      const points = values.map((value, i) => `${i + 0.5},${y(value).toFixed(2)}`).join(" ");
      picture.append(isthmus.drawing("polyline", { class: kind, points }));
      upper.append(end(kind, name, most, "largest"));
      lower.append(end(kind, name, least, "smallest"));
    }
    return isthmus.element("div", { className: "chart" }, upper, picture, lower);
  }

  function end(kind, name, value, which) {
    const made = isthmus.element("span", { className: `end ${kind}`, title: `${which} value of ${name}` });
    made.append(isthmus.short(value));
    return made;
  }

  return chart;
})();
