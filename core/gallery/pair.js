"use strict";

// The page of one pair: its frames over the curves of both neurons, and everything that its record says. What the index
// knows shows at once; the record comes a moment later.
isthmus.pair = (() => {
  const { byId, element, pairs } = isthmus;
  const NEIGHBOURS = 6; // pairs of each neuron
  const TOLD = ["key", "a", "b", "status", "reason", "settings", "activation_a", "activation_b", "neighbour_distance", "layer_distance", "history", "checkpoints", "versions"]; // otherwise than by a line each
  const scrubber = byId("scrubber");

  let pair = null;
  let record = null;
  let frame = 0;
  let ticking = 0;

  function show(key) {
    const row = pairs.rowOfKey(key);
    pair = row < 0 ? null : pairs.at(row);
    record = null;
    byId("stage").hidden = !pair || pair.failed;
    byId("details").hidden = true;
    byId("reason").hidden = Boolean(pair) && !pair.failed;
    for (const id of ["facts", "numbers", "links", "neighbours"]) byId(id).replaceChildren();
    byId("copied").textContent = "";
    showPlace(row);
    if (!pair) {
      byId("pair-title").textContent = "No such pair";
      byId("reason").replaceChildren("This atlas has no pair with the key ", isthmus.quoted(key), ". It may have been rendered with other settings, or the link was cut short.");
      byId("detail-state").hidden = true;
      byId("facts-title").parentElement.hidden = true;
      return "No such pair";
    }
    byId("facts-title").parentElement.hidden = false;
    byId("pair-title").replaceChildren(isthmus.neuronLink(pair.a), isthmus.neuronLink(pair.b));
    byId("reason").replaceChildren("This pair has failed: ", isthmus.quoted(pair.reason ?? ""));
    showFrames();
    showNeighbours();
    isthmus.grid.moveOn(row);
    load(row);
    return pair.name;
  }

  // Previous and next among the pairs that pass the filters.
  function showPlace(row) {
    const { place, of, previous, next } = isthmus.grid.around(row);
    byId("place").textContent = place < 0 ? "not among the filtered strips" : `${isthmus.whole(place + 1)} of ${isthmus.whole(of)}`;
    for (const [id, other] of [["previous", previous], ["next", next]]) {
      const link = byId(id);
      if (other === undefined) link.removeAttribute("href");
      else link.href = isthmus.address.to("pair", pairs.key(other));
    }
  }

  // ---- frames and scrubber

  function showFrames() {
    const frames = byId("frames");
    frames.replaceChildren();
    byId("curves").replaceChildren();
    byId("checkpoints").replaceChildren();
    if (pair.failed) return;
    const path = isthmus.sheetPath(pair.key);
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
      element("span", { className: "of-a", title: "mean activation of a on this frame" }, "a ", element("b", { textContent: a })),
      element("span", { className: "of-b", title: "mean activation of b on this frame" }, "b ", element("b", { textContent: b })),
    );
  }

  // Go on by a frame, to and fro, while everything plays.
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
    clearTimeout(ticking); // held until the pointer leaves
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
    if (event.key === "Escape") location.hash = isthmus.address.to("grid");
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
      state.replaceChildren(`${error.message} could not be read. If the atlas was published anew, load this page again. `, again);
      return;
    }
    if (pair?.row !== row) return; // the reader has gone on
    state.hidden = true;
    record = JSON.parse(line);
    showRecord(line);
  }

  function showRecord(line) {
    if (!pair.failed) {
      const curves = [{ kind: "curve-a", values: record.activation_a }, { kind: "curve-b", values: record.activation_b }];
      byId("curves").replaceChildren(isthmus.chart(curves, "activation of both neurons on every frame"));
      goTo(frame);
      showHistory();
      showCheckpoints();
      byId("details").hidden = false;
    }
    showLinks(line);
    showNumbers();
    showFacts();
    byId("pair-spec").textContent = specOf(record);
  }

  function showHistory() {
    const { history } = record;
    byId("history-title").parentElement.hidden = history.length === 0;
    if (history.length === 0) return;
    const words = `from ${isthmus.short(history[0])} to ${isthmus.short(history.at(-1))} in ${record.settings.steps} updates, each point the mean of a ${history.length}th of them`;
    const chart = isthmus.chart([{ kind: "curve-a", values: history }], `objective ${words}`);
    byId("history").replaceChildren(chart, element("p", { className: "faint", textContent: words }));
  }

  function showCheckpoints() {
    const kept = record.checkpoints.filter(({ picture }) => picture);
    byId("checkpoints-title").parentElement.hidden = kept.length === 0;
    byId("checkpoints").replaceChildren(...kept.map(({ step, objective }) => {
      const words = `after ${isthmus.whole(step)} updates`;
      const image = element("img", { src: isthmus.sheetPath(pair.key, step), alt: `all frames ${words}`, width: pair.frames * pair.size_px, height: pair.size_px });
      return element("figure", {}, image, element("figcaption", { textContent: `${words}, objective ${isthmus.short(objective)}` }));
    }));
  }

  function showLinks(line) {
    const file = (text, href) => element("a", { textContent: text, href, download: "" });
    const json = element("a", { textContent: "Record, JSON", download: `${pair.key}.json` });
    json.href = `data:application/json;charset=utf-8,${encodeURIComponent(`${line}\n`)}`;
    const copy = element("button", { type: "button", textContent: "Copy link" });
    copy.addEventListener("click", () => copied(`${location.href.split("#")[0]}#pair=${pair.key}`, "The link"));
    const pictures = [file("Sheet, PNG, lossless", isthmus.sheetPath(pair.key)), file("Preview, WebP", isthmus.previewPath(pair.key))];
    byId("links").replaceChildren(...(pair.failed ? [] : pictures), json, copy);
    byId("stage").hidden = false;
    byId("stage").classList.toggle("failed", pair.failed);
  }

  async function copied(text, what) {
    await isthmus.copy(text);
    byId("copied").textContent = `${what} is on the clipboard.`;
  }
  byId("copy-spec").addEventListener("click", () => copied(byId("pair-spec").textContent, "The spec"));

  // What the curves show, in numbers.
  function showNumbers() {
    byId("numbers").hidden = pair.failed;
    if (pair.failed) return;
    const layers = Object.entries(record.layer_distance);
    const head = ["frame", "activation of a", "activation of b", "difference to the next frame", ...layers.map(([layer]) => `the same in ${layer}`)];
    const rows = record.activation_a.map((a, i) => [a, record.activation_b[i], record.neighbour_distance[i], ...layers.map(([, values]) => values[i])]);
    const cell = (value) => element("td", { textContent: value === undefined ? "" : Number(value.toPrecision(5)), title: value ?? "" });
    byId("numbers").replaceChildren(element("table", {},
      element("thead", {}, element("tr", {}, ...head.map((text) => element("th", { textContent: text, scope: "col" })))),
      element("tbody", {}, ...rows.map((values, i) => element("tr", {}, element("th", { textContent: i + 1, scope: "row" }), ...values.map(cell)))),
    ));
  }

  function showFacts() {
    const text = (value) => (typeof value === "string" ? value : JSON.stringify(value));
    const facts = [["key", record.key], ["a", record.a], ["b", record.b], ["status", record.status]];
    if (record.reason !== null) facts.push(["reason", record.reason]);
    for (const [name, { label, meaning }] of Object.entries(pairs.SCORES)) {
      facts.push([label.toLowerCase(), isthmus.short(pairs.columns[name][pair.row]), meaning]);
    }
    for (const { step, objective } of record.checkpoints) facts.push([`objective at update ${step}`, objective]);
    for (const [name, value] of Object.entries(record)) if (!TOLD.includes(name) && value !== null) facts.push([name, text(value)]);
    for (const [name, value] of Object.entries(record.settings)) facts.push([`settings.${name}`, text(value)]);
    for (const [name, value] of Object.entries(record.versions)) facts.push([`version of ${name}`, value]);
    if (record.history.length) facts.push(["history of the objective", record.history.map((value) => Number(value.toPrecision(5))).join(", ")]);
    byId("facts").replaceChildren(...facts.map((fact) => isthmus.fact(...fact)));
  }

  // A spec that renders this pair again, as YAML; whatever is quoted is ASCII, which every YAML reader takes alike.
  function specOf({ key, a, b, settings, model }) {
    const quote = (value) => JSON.stringify(value).replace(/[^\x20-\x7e]/gu, (sign) => `\\U${sign.codePointAt(0).toString(16).padStart(8, "0")}`);
    const own = JSON.parse(document.body.dataset.model);
    return [
      `name: pair-${key}`,
      `model: ${quote(own.name === model ? own : { name: model })}`,
      "pairs:",
      "  select: list",
      `  list: [[${quote(a)}, ${quote(b)}]]`,
      "render:",
      ...Object.entries(settings).map(([name, value]) => `  ${name}: ${quote(value)}`),
      "",
    ].join("\n");
  }

  // ---- other pairs of its neurons

  function showNeighbours() {
    const groups = [pair.a, pair.b].map((neuron) => {
      const others = pairs.rowsOf(neuron).filter((row) => row !== pair.row);
      const nearest = [...pairs.sort(others, "distance").subarray(0, NEIGHBOURS)];
      const tiles = nearest.map((row) => isthmus.strip.tile(pairs.at(row)));
      const all = element("a", { href: isthmus.address.to("neuron", neuron.name) }, "All pairs of ", isthmus.inWords(neuron), `: ${isthmus.whole(others.length + 1)}`);
      return element("div", { className: "neighbours" }, element("p", {}, all), element("div", { className: "tiles" }, ...tiles));
    });
    byId("neighbours").replaceChildren(...groups);
  }
  isthmus.strip.listen(byId("neighbours"));

  return { show };
})();
