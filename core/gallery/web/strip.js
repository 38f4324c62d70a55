"use strict";

// A tile: a strip, shown as one frame in a window or as a film of all frames, with names and numbers.
isthmus.strip = (() => {
  const { byId, element } = isthmus;
  const pairs = new WeakMap(); // tile -> pair

  // Create the tile of a pair. `sort` names the score that the pairs are sorted by, which the tile shows. With `film`, a
  // box of { width, height, frames }, the tile shows the whole strip, otherwise one frame, at rest the middle one. With
  // `scores`, their numbers stand in columns.
  function makeTile(pair, { sort, film, scores } = {}) {
    const tile = byId("tile").content.firstElementChild.cloneNode(true);
    const [player, names, numbers, acts] = tile.children;
    pairs.set(tile, pair);
    tile.dataset.key = pair.key;
    names.append(...["a", "b"].map((end) => isthmus.neuronLink(pair[end], isthmus.markOf(pair, end))));
    names.classList.toggle("same-layer", pair.a.layer === pair.b.layer);
    for (const link of names.children) link.tabIndex = -1; // for the keyboard there are the keys a and b
    if (pair.setting) names.append(element("bdi", { className: "label differs", textContent: (tile.title = pair.setting) }));
    numbers.href = isthmus.address.to("pair", pair.key);
    if (scores) {
      const values = scores.map((name) => score(isthmus.pairs.columns[name][pair.row], name));
      numbers.replaceWith(...values.map((one) => Object.assign(one, { className: "number" })));
    } else if (!pair.failed) {
      const name = sort && sort !== "activation" ? sort : "smoothness";
      const parts = [endsOf(pair), score(pair[name], name, `${isthmus.pairs.SCORES[name].sign} `)];
      numbers.append(...(sort ? parts.reverse() : parts)); // the first is the last to be left out
      numbers.classList.toggle("sorted", Boolean(sort));
    }
    if (!numbers.textContent) numbers.remove(); // of a failed pair
    for (const act of acts.children) {
      act.dataset.pair = pair.key;
      isthmus[act.dataset.list]?.mark(act);
    }
    if (pair.failed) player.replaceWith(failed(pair, isthmus.failure("Failed", pair.reason)));
    else showStrip(tile, pair, film);
    return tile;
  }

  function showStrip(tile, pair, film) {
    const player = tile.firstElementChild;
    const shown = player.firstElementChild;
    const marks = ["a", "b"].map((end) => [end, isthmus.MARKS[isthmus.markOf(pair, end)]]).filter(([, mark]) => mark);
    const attributes = {
      role: "slider",
      tabindex: 0,
      "aria-label": [pair.name, ...marks.map(([end, { word }]) => `${end} ${word}`), pair.setting].filter(Boolean).join(", "),
      "aria-valuemin": 1,
      "aria-valuemax": pair.frames,
    };
    for (const [name, value] of Object.entries(attributes)) player.setAttribute(name, value);
    tile.style.setProperty("--frames", pair.frames);
    const missing = (_, words) => tile.contains(player) && player.replaceWith(failed(pair, words));
    const picture = (className = "") =>
      Object.assign(isthmus.picture(isthmus.previewPath(pair.key), missing), { className });
    if (!film) shown.append(picture("strip"));
    else if (pair.frames <= film.frames) shown.append(picture(), element("div", { className: "marker" }));
    else shown.append(element("div", { className: "lead" }, picture("strip")), linesOf(pair.frames, film, picture));
    shown.classList.toggle("film", Boolean(film));
    if (marks.length) {
      const title = marks.map(([end, { word, meaning }]) => `${end} ${word}: ${meaning}`).join("\n");
      const sign = marks.map(([, mark]) => mark.sign).join(" ");
      shown.append(element("span", { className: "sign", textContent: sign, title, ariaHidden: "true" }));
    }
    show(tile, film ? 0 : (pair.frames - 1) >> 1);
  }

  // Lay many frames side by side in several lines, as large as they fit beside a large frame.
  function linesOf(frames, { width, height }, picture) {
    let [size, count] = [0, 1];
    for (let lines = 1; lines <= frames; lines++) {
      const inLine = Math.ceil(frames / lines);
      const fits = Math.min(Math.floor((width - height - 4) / inLine), Math.floor(height / lines));
      if (fits > size) [size, count] = [fits, inLine];
    }
    const made = element("div", { className: "lines" });
    for (let first = 0; first < frames; first += count) {
      const line = element("div", { className: "band" }, picture());
      const values = { "--size": `${size}px`, "--first": first, "--count": Math.min(count, frames - first) };
      for (const [name, value] of Object.entries(values)) line.style.setProperty(name, value);
      made.append(line);
    }
    return made;
  }

  // Create what stands in the place of a picture.
  const failed = (pair, words) =>
    element("a", { className: "player window", href: isthmus.address.to("pair", pair.key) }, words);

  const endsOf = (pair) =>
    element(
      "span",
      {},
      number(pair.activation_a, "activation of a on the first frame"),
      " → ",
      number(pair.activation_b, "activation of b on the last frame"),
    );

  const score = (value, name, sign = "") => {
    const { label, meaning } = isthmus.pairs.SCORES[name];
    return number(value, label, meaning, sign);
  };

  function number(value, label, title = label, sign = "") {
    const unseen = element("span", { className: "unseen", textContent: `${label}: ` });
    return element("span", { title }, unseen, sign + isthmus.short(value));
  }

  // ---- the frame

  function show(tile, frame) {
    const valid = Math.max(0, Math.min(pairs.get(tile).frames - 1, frame));
    tile.style.setProperty("--frame", valid);
    tile.firstElementChild.setAttribute("aria-valuenow", valid + 1);
    isthmus.strip.tell?.(tile);
  }

  return { makeTile, show, pairOf: (tile) => pairs.get(tile) };
})();
