"use strict";

// The page of one pair: its frames above the activation curves of both neurons, and everything in its record. The index
// shards have enough for the frames, which show at once; the record is loaded afterwards.
isthmus.pair = (() => {
  const { byId, element, pairs } = isthmus;
  const NEIGHBOURS = 6; // other pairs shown for each neuron
  const scrubber = byId("scrubber");

  let pair = null;
  let record = null;
  let frame = 0;
  let ticking = 0; // timer

  async function show(key) {
    const row = await pairs.rowOfKey(key);
    pair = row < 0 ? null : pairs.at(row);
    record = null;
    byId("stage").hidden = !pair;
    byId("stage").classList.toggle("failed", Boolean(pair?.failed));
    byId("reason").hidden = Boolean(pair) && !pair.failed;
    isthmus.record.clear();
    byId("neighbours").replaceChildren();
    byId("unexcited").hidden = !pair?.dead.length;
    showPlace(row);
    if (!pair) {
      byId("pair-title").textContent = "No such pair";
      byId("reason").replaceChildren(
        "This atlas has no pair with the key ",
        isthmus.quoted(key),
        ". The pair may have been rendered with other settings, or the link may be cut short.",
      );
      byId("detail-state").hidden = true;
      byId("facts-title").parentElement.hidden = true;
      return "No such pair";
    }
    byId("facts-title").parentElement.hidden = false;
    byId("pair-title").replaceChildren(
      ...["a", "b"].map((end) => isthmus.neuronLink(pair[end], pair.dead.includes(end))),
    );
    byId("unexcited").textContent = pair.dead.map((end) => `${end} is not excited: ${isthmus.UNEXCITED}.`).join(" ");
    byId("reason").replaceChildren("This pair failed: ", isthmus.quoted(pair.reason ?? ""));
    showFrames();
    showNeighbours();
    isthmus.grid.moveOn(row);
    load(row);
    return pair.name;
  }

  // Link to the previous and next pair among those that pass the filters.
  function showPlace(row) {
    const { place, of, previous, next } = isthmus.grid.around(row);
    const number = `${isthmus.whole(place + 1)} of ${isthmus.whole(of)}`;
    byId("place").textContent = place >= 0 ? number : pair ? "hidden by the filters" : "";
    for (const [id, other] of Object.entries({ previous, next })) {
      const link = byId(id);
      if (other === undefined) link.removeAttribute("href");
      else link.href = isthmus.address.to("pair", pairs.key(other));
    }
  }

  // ---- frames and scrubber

  function showFrames() {
    const frames = byId("frames");
    frames.replaceChildren();
    if (pair.failed) return;
    const path = isthmus.stripPath(pair);
    scrubber.style.setProperty("--frames", pair.frames);
    scrubber.style.setProperty("--size", `${pair.size_px}px`);
    scrubber.setAttribute("aria-valuemax", pair.frames);
    for (let i = 0; i < pair.frames; i++) frames.append(isthmus.frameOf(path, pair, i, `frame ${i + 1}`));
    const large = byId("large").querySelector("img");
    large.src = path;
    large.onerror = frames.firstElementChild.onerror = () => {
      byId("reason").hidden = false;
      byId("reason").replaceChildren("No picture at ", isthmus.quoted(path), ".");
    };
    byId("large").style.setProperty("--frames", pair.frames);
    goTo(0);
    tick();
  }

  function goTo(wanted) {
    frame = Math.max(0, Math.min(pair.frames - 1, wanted));
    scrubber.style.setProperty("--frame", frame);
    byId("large").style.setProperty("--frame", frame);
    const [a, b] = ["activation_a", "activation_b"].map((name) => isthmus.short(record?.[name][frame]));
    scrubber.setAttribute("aria-valuenow", frame + 1);
    scrubber.setAttribute("aria-valuetext", `frame ${frame + 1} of ${pair.frames}, activation of a ${a}, of b ${b}`);
    byId("legend").replaceChildren(
      element("span", { textContent: `frame ${frame + 1} of ${pair.frames}` }),
      activation("a", a),
      activation("b", b),
    );
  }

  function activation(end, value) {
    const title = `mean activation of ${end} on this frame`;
    return element("span", { className: `of-${end}`, title }, `${end} `, element("b", {}, value));
  }

  // While everything plays, move by one frame, forwards to the end and backwards to the beginning.
  let direction = 1;
  function tick() {
    clearTimeout(ticking);
    if (!isthmus.strip.playing()) return;
    ticking = setTimeout(() => {
      if (byId("stage").offsetParent === null) return;
      if (frame + direction < 0 || frame + direction >= pair.frames) direction = -direction;
      goTo(frame + direction);
      tick();
    }, isthmus.strip.frameMilliseconds());
  }
  addEventListener("motion", () => pair && !pair.failed && tick());

  function scrub(event) {
    const { left, width } = scrubber.getBoundingClientRect();
    clearTimeout(ticking); // the frame stays until the pointer leaves
    goTo(Math.floor(((event.clientX - left) / width) * pair.frames));
  }
  scrubber.addEventListener("pointermove", scrub);
  scrubber.addEventListener("pointerdown", (event) => {
    scrub(event);
    scrubber.setPointerCapture(event.pointerId);
  });
  scrubber.addEventListener("pointerleave", () => tick());
  scrubber.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const key = { ArrowUp: "ArrowRight", ArrowDown: "ArrowLeft" }[event.key] ?? event.key;
    const target = isthmus.strip.frameAfter(key, frame, pair.frames);
    if (target === undefined) return;
    event.preventDefault();
    clearTimeout(ticking);
    goTo(target);
  });
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || byId("pair-page").offsetParent === null) return;
    const id = event.shiftKey && { ArrowLeft: "previous", ArrowRight: "next" }[event.key];
    if (id && byId(id).href) byId(id).click();
  });

  // ---- the record

  async function load(row) {
    const state = byId("detail-state");
    state.hidden = false;
    state.className = "note";
    state.textContent = "Loading the record…";
    let line = "";
    try {
      line = await pairs.line(row);
    } catch (error) {
      if (pair?.row !== row) return;
      const again = element("button", { type: "button", textContent: "Try again" });
      again.addEventListener("click", () => load(row));
      state.className = "note error";
      state.replaceChildren(
        `${error.message} could not be read. If the atlas has been published again, reload this page. `,
        again,
      );
      return;
    }
    if (pair?.row !== row) return; // the reader has gone to another pair
    state.hidden = true;
    record = isthmus.record.show(pair, line);
    if (!pair.failed) goTo(frame);
  }

  // ---- other pairs of its neurons

  function showNeighbours() {
    const groups = [pair.a, pair.b].map((neuron) => {
      const others = pairs.rowsOf(neuron).filter((row) => row !== pair.row);
      const nearest = [...pairs.sort(others, "distance").subarray(0, NEIGHBOURS)];
      const tiles = nearest.map((row) => isthmus.strip.makeTile(pairs.at(row)));
      const href = isthmus.address.to("neuron", neuron.name);
      const all = element(
        "a",
        { href },
        "All pairs of ",
        isthmus.inWords(neuron),
        `: ${isthmus.whole(others.length + 1)}`,
      );
      const made = element("div", { className: "neighbours" });
      const walk = pairs.isRoad(pair.row)
        ? [" · ", isthmus.walkLink(neuron, pairs.settings[pairs.columns.setting[pair.row]])]
        : [];
      made.append(element("p", {}, all, ...walk), element("div", { className: "tiles" }, ...tiles));
      return made;
    });
    byId("neighbours").replaceChildren(...groups);
  }
  isthmus.strip.listen(byId("neighbours"));

  addEventListener("view", () => pair && showPlace(pair.row));

  return { show, needs: () => [...pairs.tile, ...pairs.tileNumbers, "distance"] };
})();
