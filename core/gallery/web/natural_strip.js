"use strict";

// The natural strip on the page of a pair: below each frame the photographs that mix both neurons in the same proportion.
// It lies inside the scrubber, so that one pointer moves over both strips.
isthmus.naturalStrip = (() => {
  const { byId, element, photographs } = isthmus;
  const ACTIVE = Math.log2(5); // level of the strongest 10 %, see core/atlas/natural_strip.py
  let shown = { pair: null, frames: [] };

  // Show the natural strip of a pair; `isShown` says whether the reader is still there when it has been loaded.
  async function show(pair, isShown) {
    const found = await photographs.ofPair(pair);
    if (!isShown()) return;
    shown = { pair, frames: found.frames };
    const last = found.frames.length - 1;
    const hasPictures = photographs.album.published && found.frames.some((frame) => frame.length);
    if (hasPictures) byId("natural").replaceChildren(...found.frames.map((frame, number) => column(frame, number, last)));
    byId("natural-words").replaceChildren(
      ...[between(found), ends(found), hasPictures ? reading(found) : ""]
        .filter(Boolean)
        .map((textContent) => element("p", { textContent })),
      ...(Number.isNaN(found.by_chance) ? [] : [photographs.source()]),
    );
  }

  function column(frame, number, last) {
    const made = frame.map((photograph) => {
      const { a, b } = photograph;
      const isFaded = (number < last && a < ACTIVE) || (number > 0 && b < ACTIVE);
      const title = [photographs.words(photograph), rank("a", a), rank("b", b)].filter(Boolean).join("\n");
      return element("span", { className: isFaded ? "faded" : "", title }, photographs.picture(photograph));
    });
    if (made.length === 0) made.push(element("span", { className: "none", textContent: "none" }));
    return element("div", {}, ...made);
  }

  // Say what the photographs of a frame show, for readers who do not see them.
  function told(pair, frame) {
    if (pair !== shown.pair) return "";
    const classes = new Set(shown.frames[frame].map(photographs.words).filter(Boolean));
    return classes.size ? `; photographs: ${[...classes].join(", ")}` : "";
  }

  const rank = (end, level) =>
    level > 0
      ? `${end}: among the strongest ${photographs.percent(photographs.shareAt(level), 1)}`
      : `${end}: not more than on most photographs`;

  // Say what both neurons have in common.
  function between({ both, by_chance, correlation }) {
    if (Number.isNaN(by_chance)) return "";
    const all = isthmus.counted(photographs.album.photographs, "photograph");
    const found = both === 0 ? "none is" : both === 1 ? "1 is" : `${isthmus.whole(both)} are`;
    const told = `${all}, ${found} among the strongest 10 % of both neurons (${rounded(by_chance)} would be by chance).`;
    const little = both === 0 ? "nothing" : both < by_chance / 2 ? "little" : "";
    const start = little ? `Photographs hold ${little} between the two: of` : "Of";
    const known = Number.isNaN(correlation) ? "" : ` Their activations correlate by ${signed(correlation)}.`;
    return `${start} ${told}${known}`;
  }

  const signed = (value) => `${value < 0 ? "−" : ""}${Math.abs(value).toFixed(2)}`;

  const rounded = (value) => Number(value.toPrecision(2));

  // Say how strong the ends are.
  function ends({ multiple_a, multiple_b }) {
    const known = Object.entries({ a: multiple_a, b: multiple_b }).filter(([, value]) => !Number.isNaN(value));
    if (known.length === 0) return "";
    const told = known.map(([end, value]) => `${value < 0 ? "−" : ""}${rounded(Math.abs(value))} (${end})`);
    return `The ends excite their neurons ${told.join(" and ")} times as much as the strongest photograph does, by means over all places, counted from the mean of all.`;
  }

  function reading({ frames }) {
    const faded = byId("natural").querySelector(".faded") ? " Faded ones are not among the strongest 10 % of a neuron that counts in the frame." : "";
    const none = frames.some((frame) => frame.length === 0) ? " Where it says none, no photograph has that mix." : "";
    return `Below each frame are the photographs that mix both neurons in its proportion, each by the rank of its strongest place among all.${faded}${none}`;
  }

  return { show, told };
})();
