"use strict";

// The pairs around a pair: the previous and the next one in the grid, other pairs of its neurons, and what it may be
// compared with. They need columns of all pairs, which may arrive long after the strip.
isthmus.around = (() => {
  const { address, byId, element, pairs, reference } = isthmus;
  const NEIGHBOURS = 6; // other pairs shown for each neuron
  const CANDIDATES = 12; // pairs offered for comparing
  let pair = null;

  // Show the pairs around one; null is no pair.
  function show(shown) {
    pair = shown;
    for (const id of ["neighbours", "candidates"]) byId(id).replaceChildren();
    byId("neighbours-title").parentElement.hidden = !pair;
    byId("compare-with").hidden = !pair || pair.failed;
    showPlace();
    if (pair) fill(pair);
  }

  async function fill(wanted) {
    try {
      await pairs.load([...pairs.names, "distance"]);
      await showNeighbours(wanted);
      if (pair === wanted) await showCandidates(wanted);
    } catch (error) {
      if (pair === wanted) byId("neighbours").textContent = `${error.message} could not be read. Reload this page.`;
    }
  }

  // Link to the previous and next pair among those that pass the filters.
  async function showPlace() {
    const wanted = pair;
    if (wanted) isthmus.grid.moveOn(wanted.row);
    const { place, of, previous, next } = isthmus.grid.around(wanted?.row ?? -1);
    const number = `${isthmus.whole(place + 1)} of ${isthmus.whole(of)}`;
    byId("place").textContent = place >= 0 ? number : wanted ? "hidden by the filters" : "";
    for (const [id, row] of Object.entries({ previous, next })) {
      const link = byId(id);
      link.removeAttribute("href");
      if (row === undefined) continue;
      await pairs.load(["key"], [row]);
      if (pair === wanted) link.href = address.to("pair", pairs.key(row));
    }
  }
  addEventListener("view", () => byId("pair-page").offsetParent !== null && showPlace());

  async function showNeighbours(wanted) {
    const groups = [wanted.a, wanted.b].map((neuron) => {
      const others = pairs.rowsOf(neuron).filter((row) => row !== wanted.row);
      return { neuron, others, nearest: [...pairs.sort(others, "distance").subarray(0, NEIGHBOURS)] };
    });
    await pairs.loadTiles(groups.flatMap(({ nearest }) => nearest));
    if (pair !== wanted) return; // the reader has gone to another pair
    byId("neighbours").replaceChildren(...groups.map(neighboursOf));
  }

  function neighboursOf({ neuron, others, nearest }) {
    const tiles = nearest.map((row) => isthmus.strip.makeTile(pairs.at(row)));
    const href = address.to("neuron", neuron.name);
    const all = element(
      "a",
      { href },
      "All pairs of ",
      isthmus.inWords(neuron),
      `: ${isthmus.whole(others.length + 1)}`,
    );
    const walk = pairs.isRoad(pair.row)
      ? [" · ", isthmus.walkLink(neuron, pairs.settings[pairs.columns.setting[pair.row]])]
      : [];
    const made = element("div", { className: "neighbours" });
    made.append(element("p", {}, all, ...walk), element("div", { className: "tiles" }, ...tiles));
    return made;
  }
  isthmus.strip.listen(byId("neighbours"));

  // ---- comparing

  // Offer the same pair in other settings, then other pairs of its neurons, those in its own settings first, and then
  // the pairs that follow in the grid.
  async function showCandidates(wanted) {
    const { a, b, setting, status } = pairs.columns;
    const own = setting[wanted.row];
    const isSame = (row) => a[row] === wanted.a.id && b[row] === wanted.b.id;
    const ofNeurons = [...pairs.rowsOf(wanted.a), ...pairs.rowsOf(wanted.b)];
    const inOwn = (row) => setting[row] === own;
    const inOther = (row) => !inOwn(row);
    const sequence = [
      ofNeurons.filter(isSame),
      ofNeurons.filter(inOwn),
      ofNeurons.filter(inOther),
      following(wanted.row),
    ];
    const others = [...new Set(sequence.flat())].filter((row) => row !== wanted.row && status[row] === 0);
    const shown = others.slice(0, CANDIDATES);
    await pairs.loadTiles(shown);
    if (pair !== wanted) return;
    const links = shown.map((row) => {
      const named = isthmus.quoted(settingOf(row));
      const words = isSame(row) ? ["in other settings: ", named] : [nameOf(row), ...(inOwn(row) ? [] : [", ", named])];
      return element("li", {}, element("a", { href: to([row]) }, ...words));
    });
    const same = shown.filter(isSame).slice(0, 3);
    const all = element("a", { href: to(same), id: "compare-settings", textContent: "This pair in all its settings" });
    byId("candidates").replaceChildren(...(same.length ? [element("p", {}, all)] : []), element("ul", {}, ...links));
  }

  function following(row) {
    const rows = isthmus.grid.rows();
    const place = rows.indexOf(row);
    return [...rows.slice(place + 1, place + 2 * CANDIDATES)];
  }

  const settingOf = (row) =>
    pairs.differences[pairs.columns.setting[row]] || pairs.settings[pairs.columns.setting[row]];

  const nameOf = (row) => isthmus.quoted(pairs.at(row).name);

  const to = (rows) =>
    address.to("compare", reference.join([pair.key, ...rows.map(pairs.key)].map((key) => ({ key, page: "" }))));

  byId("compare-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const field = byId("compare-key");
    try {
      const other = reference.read(field.value);
      location.hash = address.to("compare", reference.join([{ key: pair.key, page: "" }, other]));
    } catch (error) {
      field.setCustomValidity(`${error.message}.`);
      field.reportValidity();
    }
  });
  byId("compare-key").addEventListener("input", () => byId("compare-key").setCustomValidity(""));

  return { show };
})();
