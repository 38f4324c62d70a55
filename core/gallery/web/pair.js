"use strict";

// The page of one pair. Its row of the data, which arrives first, is enough for the frames; then come the record, with
// the curves and everything else about the strip, and the pairs around it.
isthmus.pair = (() => {
  const { around, byId, download, element, film, pairs, places, sharing } = isthmus;
  const frameWindow = byId("large").firstElementChild;
  const slider = byId("scrubber");
  const scrubber = isthmus.scrubber(slider, { show: showFrame, words, button: byId("pair-play") });

  let wanted = ""; // key
  let pair = null;
  let record = null;

  async function show(key) {
    wanted = key;
    let row = -1;
    try {
      row = await pairs.rowOfKey(key);
      if (row >= 0) await pairs.loadTiles([row]);
    } catch (error) {
      if (wanted === key) lose(error, () => show(key));
      return "";
    }
    if (wanted !== key) return ""; // the reader has gone to another pair
    pair = row < 0 ? null : pairs.at(row);
    record = null;
    clear();
    around.show(pair);
    if (!pair) {
      byId("pair-title").textContent = "No such pair";
      byId("reason").replaceChildren(
        ...(key
          ? [
              "This atlas has no pair with the key ",
              isthmus.quoted(key),
              ". The pair may have been rendered with other settings, or the link may be cut short.",
            ]
          : ["The address names no pair: expected #pair=KEY."]),
      );
      return "No such pair";
    }
    byId("pair-title").replaceChildren(
      ...["a", "b"].map((end) => isthmus.neuronLink(pair[end], isthmus.markOf(pair, end))),
    );
    byId("reason").replaceChildren("This pair failed: ", isthmus.quoted(pair.reason ?? ""));
    if (!pair.failed) showFrames();
    download.show(pair, null, () => scrubber.position);
    sharing.show(pair);
    load(row);
    return pair.name;
  }

  function clear() {
    byId("stage").hidden = !pair;
    byId("stage").classList.toggle("failed", Boolean(pair?.failed));
    byId("reason").hidden = Boolean(pair) && !pair.failed;
    byId("detail-state").hidden = true;
    for (const id of ["frames", "natural", "curves", "summary", "natural-words", "copied"]) byId(id).replaceChildren();
    for (const fold of byId("actions").querySelectorAll("details")) fold.open = false;
    isthmus.record.clear();
  }

  function showFrames() {
    byId("stage").style.setProperty("--frames", pair.frames);
    byId("frames").replaceChildren(film.row(pair));
    film.load(frameWindow, pair, (path) => {
      byId("reason").hidden = false;
      byId("reason").replaceChildren("No picture at ", isthmus.quoted(path), ".");
    });
    scrubber.begin(pair.frames);
    showNatural(pair);
  }

  // Show the photographs below the frames, in an atlas that has any.
  async function showNatural(of) {
    if (!isthmus.assets.has("photographs")) return;
    await isthmus.assets
      .load("photographs")
      .then(() => isthmus.naturalStrip.show(of, () => of === pair))
      .then(() => of === pair && scrubber.goTo(scrubber.position)) // screen readers hear what the photographs show
      .catch(isthmus.address.lost);
  }

  // ---- the frame

  function showFrame(frame) {
    slider.style.setProperty("--frame", frame);
    film.show(frameWindow, frame);
    byId("legend").replaceChildren(
      element("span", { textContent: `frame ${frame + 1} of ${pair.frames}` }),
      activation("a", frame),
      activation("b", frame),
    );
  }

  const activationOf = (end, frame) => isthmus.short(record?.[`activation_${end}`][frame]);

  function activation(end, frame) {
    const title = `mean activation of ${end} on this frame`;
    return element("span", { className: `of-${end}`, title }, `${end} `, element("b", {}, activationOf(end, frame)));
  }

  function words(frame) {
    const [a, b] = ["a", "b"].map((end) => activationOf(end, frame));
    const natural = isthmus.naturalStrip?.told(pair, frame) ?? "";
    return `frame ${frame + 1} of ${pair.frames}, activation of a ${a}, of b ${b}${natural}`;
  }

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || byId("pair-page").offsetParent === null) return;
    if (event.target.matches("input, textarea")) return;
    const id = event.shiftKey && { ArrowLeft: "previous", ArrowRight: "next" }[event.key];
    if (id && byId(id).href) byId(id).click();
  });

  // ---- the record

  async function load(row) {
    const state = byId("detail-state");
    state.hidden = false;
    state.className = "note";
    state.textContent = "Loading the record…";
    try {
      const line = await pairs.line(row);
      if (pair?.row !== row) return; // the reader has gone to another pair
      record = isthmus.record.show(pair, line);
      download.show(pair, line, () => scrubber.position);
      if (!pair.failed) showRecord();
      await pairs.load(Object.keys(pairs.SCORES), [row]);
      if (pair?.row !== row) return;
      isthmus.record.showFacts();
      state.hidden = true;
    } catch (error) {
      if (pair?.row === row) lose(error, () => load(row));
    }
  }

  function lose(error, retry) {
    byId("detail-state").className = "note error";
    isthmus.address.offerRetry(error, byId("detail-state"), retry);
  }

  function showRecord() {
    const curves = ["a", "b"].map((end) => ({
      kind: `curve-${end}`,
      name: `the activation of ${end}`,
      values: record[`activation_${end}`],
    }));
    byId("curves").replaceChildren(
      isthmus.chart(curves, "activation of both neurons on every frame, each on its own scale"),
    );
    const words = [...isthmus.summary(record), pair.setting && `Settings: ${pair.setting}.`].filter(Boolean);
    byId("summary").replaceChildren(
      ...words.map((textContent) => element("p", { textContent })),
      ...flight(),
    );
    scrubber.goTo(scrubber.position);
  }

  // Return a link to the flight between the pair's neurons, if both have a place on a land.
  function flight() {
    const names = [pair.a.name, pair.b.name];
    if (pair.a === pair.b || names.some((name) => places.find(name) === undefined)) return [];
    const href = isthmus.address.to("land", isthmus.joinNames(names));
    return [element("p", {}, element("a", { href, textContent: "Flight over the land" }))];
  }

  return { show, needs: () => [] };
})();
