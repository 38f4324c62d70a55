"use strict";

// The record on a pair's page: history, checkpoints, numbers, and a spec that renders the pair again.
isthmus.record = (() => {
  const { byId, element, pairs } = isthmus;
  const FEW = 2; // checkpoints that are shown unasked

  // Measurements of the strip: name -> [fields of the record: for a and for b, or one for the strip; meaning].
  const MEASURED = {
    reach: [["reach_a", "reach_b"], "largest mean activation on a frame of the strip"],
    noise: [
      ["noise_a", "noise_b"],
      "largest mean activation on images of noise; a neuron whose reach is not larger is not excited",
    ],
    "kept at its own end": [
      ["kept_a", "kept_b"],
      "share of its reach that a has on the first frame and b on the last; 1 is all of it; the larger, the better",
    ],
    crossing: [
      ["crossing"],
      "place along the strip where both neurons are equally excited, each in units of its own range along the strip; 0 is the first frame, 1 the last, 0.5 halfway",
    ],
    pace: [
      ["pace"],
      "largest step from frame to frame divided by the smallest; 1 is perfectly even; the smaller, the more even. A step is how much the activations in the alignment layers change, compared with how much they vary within a frame",
    ],
  };

  // Fields that the list of facts leaves out because they are shown in another way.
  const SHOWN_ELSEWHERE = [
    "key",
    "a",
    "b",
    "status",
    "reason",
    "settings",
    "activation_a",
    "activation_b",
    "neighbour_distance",
    "layer_distance",
    "history",
    "checkpoints",
    "versions",
    ...Object.values(MEASURED).flatMap(([fields]) => fields),
  ];

  const OBJECTIVE =
    "The objective is what the optimizer maximises: the activations of both neurons, mixed from frame to frame, less a penalty for landmarks that move.";

  let pair = null;
  let record = null;

  // Show the record in a line, and return it.
  function show(shown, line) {
    pair = shown;
    record = JSON.parse(line);
    byId("details").hidden = byId("numbers").hidden = pair.failed;
    if (!pair.failed) {
      showHistory();
      showMeasured();
      showCheckpoints();
      showNumbers();
    }
    showFacts();
    for (const fold of ["record-fold", "spec-fold"]) byId(fold).hidden = false;
    byId("pair-spec").textContent = specOf(record);
    return record;
  }

  function clear() {
    for (const id of ["measured", "checkpoints", "facts", "numbers", "pair-spec"]) byId(id).replaceChildren();
    for (const id of ["details", "checkpoints-fold", "record-fold", "spec-fold"]) byId(id).hidden = true;
  }

  function showHistory() {
    const { history } = record;
    byId("history-title").parentElement.hidden = history.length === 0;
    if (history.length === 0) return;
    const [first, last] = [history[0], history.at(-1)].map(isthmus.short);
    const inStages = record.method >= 6 && record.settings.schedule === "fast";
    const updates = inStages ? "" : ` in ${isthmus.counted(record.settings.steps, "update")}`;
    const words = `from ${first} to ${last}${updates}`;
    const chart = isthmus.chart(
      [{ kind: "curve-a", name: "the objective", values: history }],
      `history of the objective, ${words}`,
    );
    const hasEnds = inStages && record.strip === "pair" && record.frames > 2;
    const ends = hasEnds
      ? " The two ends are optimised first; where the curve breaks, the frames between them begin."
      : "";
    const points = `The curve has ${isthmus.counted(history.length, "point")}, each the mean over an equal part of the updates.${ends}`;
    const text = `${OBJECTIVE} It went ${words}. ${points}`;
    byId("history").replaceChildren(chart, element("p", { className: "faint", textContent: text }));
  }

  function showMeasured() {
    const isKnown = ([fields]) => fields.some((field) => record[field] !== null);
    byId("measured-title").parentElement.hidden = !Object.values(MEASURED).some(isKnown);
    const value = (field) => {
      const [, end] = field.split("_");
      const shown = element("b", { textContent: isthmus.short(record[field]), title: record[field] ?? "unknown" });
      return end ? element("span", { className: `of-${end}` }, `${end} `, shown) : shown;
    };
    byId("measured").replaceChildren(
      ...Object.entries(MEASURED).map(([term, [fields, meaning]]) =>
        element(
          "div",
          {},
          element("dt", { textContent: term }),
          element("dd", { className: "values" }, ...fields.map(value)),
          element("dd", { className: "meaning", textContent: meaning }),
        ),
      ),
    );
  }

  function showCheckpoints() {
    const kept = record.checkpoints.filter(({ picture }) => picture);
    byId("checkpoints-fold").hidden = kept.length === 0;
    byId("checkpoints-fold").open = kept.length <= FEW;
    byId("checkpoints").replaceChildren(
      ...kept.map(({ step, objective }) => {
        const words = `after ${isthmus.counted(step, "update")}`;
        const image = element("img", {
          src: isthmus.stripPath(pair, step),
          alt: `all frames ${words}`,
          width: pair.frames * pair.size_px,
          height: pair.size_px,
        });
        return element(
          "figure",
          {},
          image,
          element("figcaption", { textContent: `${words}, objective ${isthmus.short(objective)}` }),
        );
      }),
    );
  }

  // Show the numbers of every frame, which the curves draw.
  function showNumbers() {
    const layers = Object.entries(record.layer_distance);
    const head = [
      "frame",
      "activation of a",
      "activation of b",
      "difference to the next frame",
      ...layers.map(([layer]) => `difference in ${layer}`),
    ];
    const rows = record.activation_a.map((a, i) => [
      a,
      record.activation_b[i],
      record.neighbour_distance[i],
      ...layers.map(([, values]) => values[i]),
    ]);
    const cell = (value) =>
      element("td", { textContent: value === undefined ? "" : Number(value.toPrecision(5)), title: value ?? "" });
    const header = (scope, text) => element("th", { scope }, text);
    const table = element("table");
    table.createTHead().append(element("tr", {}, ...head.map((text) => header("col", text))));
    table
      .createTBody()
      .append(...rows.map((values, i) => element("tr", {}, header("row", i + 1), ...values.map(cell))));
    byId("numbers").replaceChildren(table);
  }

  // Show the fields of the record, and the scores as far as they are loaded.
  function showFacts() {
    const text = (value) => (typeof value === "string" ? value : JSON.stringify(value));
    const facts = [
      ["key", record.key],
      ["a", record.a],
      ["b", record.b],
      ["status", record.status],
    ];
    if (record.reason !== null) facts.push(["reason", record.reason]);
    for (const [name, { label, meaning }] of Object.entries(pairs.SCORES)) {
      facts.push([label.toLowerCase(), isthmus.short(pairs.columns[name][pair.row]), meaning]);
    }
    for (const { step, objective } of record.checkpoints) facts.push([`objective at update ${step}`, objective]);
    for (const [name, value] of Object.entries(record))
      if (!SHOWN_ELSEWHERE.includes(name) && value !== null) facts.push([name, text(value)]);
    for (const [name, value] of Object.entries(record.settings)) facts.push([`settings.${name}`, text(value)]);
    for (const [name, value] of Object.entries(record.versions)) facts.push([`version of ${name}`, value]);
    if (record.history.length)
      facts.push(["history of the objective", record.history.map((value) => Number(value.toPrecision(5))).join(", ")]);
    byId("facts").replaceChildren(...facts.map((fact) => isthmus.fact(...fact)));
  }

  // Return a spec that renders this pair again, as YAML. Quoted texts are ASCII, which all YAML readers read the same
  // way.
  function specOf({ key, a, b, settings, model, strip }) {
    const quote = (value) =>
      JSON.stringify(value).replace(
        /[^\x20-\x7e]/gu,
        (sign) => `\\U${sign.codePointAt(0).toString(16).padStart(8, "0")}`,
      );
    const own = JSON.parse(document.body.dataset.model);
    return [
      `name: pair-${key}`,
      `model: ${quote(own.name === model ? own : { name: model })}`,
      ...(strip === "walk" ? ["strip: walk"] : []),
      "pairs:",
      "  select: list",
      `  list: [[${quote(a)}, ${quote(b)}]]`,
      "render:",
      ...Object.entries(settings).map(([name, value]) => `  ${name}: ${quote(value)}`),
      "",
    ].join("\n");
  }

  return { show, showFacts, clear };
})();
