"use strict";

// The land: one picture of all neurons of a layer. Similar neurons are side by side, and between their places lie mixes
// of them. Readers move over it, see which neurons share a point, and open neurons, strips and flights.
//
//   #land=4800,1216.5,0.5   the point in the middle, in pixels of the land, and the zoom, screen pixels for one of them
//   #land=17   #land=mixed4a:17   #land=mixed4a:17..40   a neuron, and the flight between two
isthmus.land = Object.assign(
  isthmus.land,
  (() => {
    const { address, byId, element, layers, names, pairs, places, roads } = isthmus;
    const NEAR = 40; // px, the smallest cell in which a click opens a neuron; in smaller ones it zooms in
    const CLOSE = 160; // px, a cell after a search
    const SECOND_CLICK = 250; // ms
    const SUGGESTED = 20; // neurons in the list of a field
    const HALF = 0.5; // of its reach, below which a neuron is weak
    const canvas = byId("land-view");
    const lost = new Set(); // paths of tiles that could not be read

    let view, flight; // once there is a land
    let pointed = null; // the pointer, in px of the canvas
    let [telling, writing, clicking] = [0, 0, 0]; // timers, 0 if none

    function show(value) {
      byId("land-stage").hidden = places.count === 0;
      if (places.count === 0) return sayThereIsNone();
      if (!view) begin();
      leave(); // what was under way
      say();
      byId("land-title").replaceChildren("Land of ", isthmus.quoted(places.layer));
      byId("land-title").title = places.layer;
      byId("land-state").textContent =
        `${isthmus.counted(places.count, "neuron")}, similar ones side by side; mixes of them between.`;
      endFlight();
      view.choose({ cursor: null });
      view.fit();
      go(value ?? "");
      return title();
    }

    const title = () => `Land of ${places.layer}`;

    function sayThereIsNone() {
      byId("land-title").textContent = "Land";
      byId("land-state").replaceChildren(
        "This atlas has no land. A spec with ",
        roads.code("land"),
        " makes one: a picture of all neurons of a layer, in which similar neurons are side by side.",
      );
      return "Land";
    }

    function begin() {
      view = isthmus.landView(canvas, {
        onMove: handleMove,
        onTap: handleTap,
        onPoint: handlePoint,
        onMissing: noteMissing,
        onLines: tellLines,
      });
      flight = isthmus.flight({ view, onMissing: noteMissing });
      byId("land-score").append(
        element("option", { value: "", textContent: "None" }),
        ...layers.known().map(([value, { label }]) => element("option", { value, textContent: label })),
      );
      places.known.then(() => (byId("land-lines-label").hidden = places.strips.length === 0));
      canvas.setAttribute("aria-label", `Land of ${isthmus.counted(places.count, "neuron")} of ${places.layer}`);
      listenToKeys();
      listenToTools();
    }

    function leave() {
      if (!view) return;
      view.camera.stop();
      flight.pause();
      for (const timer of [telling, writing, clicking]) clearTimeout(timer);
      [telling, writing, clicking] = [0, 0, 0];
    }

    const say = (...words) => byId("land-said").replaceChildren(...words);
    const nameOf = (number) => places.neurons[number].name;
    const neuronsOf = (numbers) => numbers.map((number) => places.neurons[number]);

    // ---- the address

    function go(value) {
      const point = value.match(/^(-?\d+(?:\.\d+)?),(-?\d+(?:\.\d+)?),(\d+(?:\.\d+)?)$/)?.slice(1);
      if (point) {
        const [x, y, zoom] = point.map(Number);
        return view.guide({ x, y, zoom });
      }
      view.showWhole();
      if (value === "") return;
      const written = names.split(value, (name) => places.find(name) !== undefined);
      const numbers = written.map(places.find);
      const unknown = written[numbers.indexOf(undefined)];
      if (unknown !== undefined || written.length > 2 || written.length === 0)
        return say(
          isthmus.quoted(unknown ?? value),
          " is not on this land: expected a neuron, two neurons as ",
          roads.code("A..B"),
          ", or a point and a zoom as ",
          roads.code("x,y,zoom"),
          ". This is the whole land.",
        );
      if (numbers.length === 1) return arriveAt(numbers[0], view.guide);
      beginFlight(...numbers);
    }

    // Write the place of the camera into the address, at most every 300 ms, because browsers limit how often it changes.
    function writeSoon() {
      writing ||= setTimeout(() => {
        writing = 0;
        const { x, y, zoom } = view.camera.now;
        address.follow("land", `${Number(x.toFixed(1))},${Number(y.toFixed(1))},${Number(zoom.toPrecision(4))}`, title());
      }, 300);
    }

    function handleMove(isGuided) {
      tellSoon();
      if (isGuided) return;
      endFlight(); // the reader leaves its way
      writeSoon();
    }

    // ---- flights

    // Show the flight between two neurons. Return whether there is one.
    function beginFlight(from, to) {
      byId("flights").open = true;
      [byId("flight-from").value, byId("flight-to").value] = neuronsOf([from, to]).map(({ channel }) => channel);
      if (from === to) say("Both are the same neuron; name two different ones.");
      else flight.set(from, to);
      return from !== to;
    }

    function endFlight() {
      if (flight?.isOn()) flight.clear();
    }

    // ---- words about the point under the pointer, or in the middle

    function handlePoint(place) {
      pointed = place;
      tellSoon();
    }

    function tellSoon() {
      telling ||= setTimeout(() => {
        telling = 0;
        tell();
      }, 150);
    }

    function tell() {
      const { camera } = view;
      const point = pointed && !flight.isOn() ? camera.pointAt(pointed) : camera.now;
      const isOnLand = point === camera.now || camera.isOnLand(point);
      byId("land-place").replaceChildren(...(isOnLand ? wordsFor(point) : []));
    }

    function wordsFor({ x, y }) {
      const shares = places.sharesAt(x, y);
      const parts = shares
        .map(([number, share]) => [number, Math.round(share * 100)])
        .filter(([, percent]) => percent > 0)
        .map(([number, percent]) => {
          const mark = markOf(number);
          const name = isthmus.neuronName(places.neurons[number]);
          return element("span", {}, name, ` ${percent} %`, ...(mark ? [" ", isthmus.mark(mark)] : []));
        });
      return [...parts, element("span", { className: "faint", textContent: factsOf(shares[0][0]) })];
    }

    // Return the mark of a neuron by its numbers on the land, see isthmus.MARKS.
    function markOf(number) {
      if (places.dead[number]) return "dead";
      const [share, activation] = [places.compared[number], places.activation[number]];
      return (share !== null && share < HALF) || (activation !== null && activation <= 0) ? "weak" : "";
    }

    function factsOf(number) {
      const [row, column] = places.rowAndColumn(number);
      const facts = [`row ${row + 1} of ${places.rows}, column ${column + 1} of ${places.columns}`];
      if (places.compared[number] !== null)
        facts.push(`activation ${Math.round(places.compared[number] * 100)} % of its reach`);
      if (pairs.count) facts.push(isthmus.pairsIn(places.stripsAt[number]));
      return `:${places.neurons[number].channel}: ${facts.join(", ")}`;
    }

    function noteMissing(path) {
      lost.add(path);
      const more = lost.size > 1 ? ` and ${isthmus.whole(lost.size - 1)} more` : "";
      byId("land-lost").hidden = false;
      byId("land-lost").replaceChildren(
        isthmus.quoted([...lost][0]),
        `${more} could not be read, so parts of the picture are blurred or missing. If the atlas has been published again, reload this page.`,
      );
      view.drawSoon();
    }

    // ---- opening

    function handleTap(place, event) {
      clearTimeout(clicking);
      clicking = 0;
      if (event.detail === 2) view.camera.zoomAt(event.shiftKey ? 0.5 : 2, place);
      else if (event.detail < 2) clicking = setTimeout(() => open(view.camera.pointAt(place)), SECOND_CLICK);
    }

    // Open the neuron at a point, or between two neurons their strip. Where neurons are too small to hit, come closer.
    async function open(point) {
      const { camera } = view;
      say();
      if (!camera.isOnLand(point)) return;
      if (camera.now.zoom * places.cell_px < NEAR) return camera.fly({ ...point, zoom: CLOSE / places.cell_px });
      const [[first], [second] = []] = places.sharesAt(point.x, point.y);
      if (second === undefined || places.isInner(first, point)) return openNeuron(first);
      await places.known;
      const row = places.stripOf(first, second);
      if (row !== undefined) {
        await pairs.load(["key"], [row]);
        return (location.hash = address.to("pair", pairs.key(row)));
      }
      const [one, other] = neuronsOf([first, second]);
      const href = address.to("land", names.write([one, other]));
      const link = element("a", { href, textContent: "Fly from one to the other" });
      say("This atlas has no strip between ", isthmus.inWords(one), " and ", isthmus.inWords(other), ". ", link);
    }

    const openNeuron = (number) => (location.hash = address.to("neuron", nameOf(number)));

    // ---- keys: from neuron to neuron

    function listenToKeys() {
      canvas.addEventListener("pointerdown", () => view.choose({ cursor: null }));
      canvas.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
        const { cursor } = view.shown;
        pointed = null;
        if (step && event.shiftKey) stepBy(...step);
        else if (step) return view.choose({ cursor: null }); // the camera moves by itself
        else if (event.key === "Enter") cursor === null ? open(view.camera.now) : openNeuron(cursor);
        else return;
        event.preventDefault();
      });
    }

    // Go to the next neuron in a direction. The first step goes to the neuron in the middle.
    function stepBy(down, right) {
      const { camera, shown } = view;
      const from = shown.cursor ?? places.numberUnder(camera.now.x, camera.now.y);
      const [row, column] = places.rowAndColumn(from);
      const [nextRow, nextColumn] = [row + down, column + right];
      const number = nextRow * places.columns + nextColumn;
      const isInside = nextColumn >= 0 && nextColumn < places.columns && nextRow >= 0 && number < places.count;
      arriveAt(shown.cursor === null || !isInside ? from : number, (to) => camera.fly(to, 150));
    }

    function arriveAt(number, move) {
      move({ ...places.centre(number), zoom: Math.max(view.camera.now.zoom, CLOSE / places.cell_px) });
      view.choose({ cursor: number });
    }

    // ---- tools

    function listenToTools() {
      const [field, from, to] = ["land-neuron", "flight-from", "flight-to"].map(byId);
      [field, from, to].forEach(suggest);
      byId("land-form").addEventListener("submit", (event) => {
        event.preventDefault();
        const [number] = numbersIn([field]);
        if (number === undefined) return;
        pointed = null;
        arriveAt(number, view.camera.fly);
      });
      byId("flight-form").addEventListener("submit", (event) => {
        event.preventDefault();
        const numbers = numbersIn([from, to]);
        if (!numbers.length || !beginFlight(...numbers)) return;
        address.follow("land", names.write(neuronsOf(numbers)), title(), true);
        flight.start();
      });
      byId("land-in").addEventListener("click", () => view.camera.zoomAt(1.5));
      byId("land-out").addEventListener("click", () => view.camera.zoomAt(1 / 1.5));
      byId("land-whole").addEventListener("click", () => view.camera.showWhole());
      byId("land-score").addEventListener("change", showColours);
      byId("land-lines").addEventListener("change", async ({ target }) => {
        byId("land-lines-number").textContent = "";
        await address.waitFor(pairs.load(["distance"]));
        view.choose({ lines: target.checked ? layers.lines() : null });
      });
    }

    function suggest(field) {
      const update = () => {
        const typed = field.value.trim().toLowerCase();
        const found = [];
        for (const { lower, name } of places.neurons) {
          if (lower.includes(typed)) found.push(element("option", { value: name }));
          if (found.length === SUGGESTED) break;
        }
        field.list.replaceChildren(...found);
      };
      for (const event of ["focus", "input"]) field.addEventListener(event, update);
    }

    // Return the numbers of the neurons that fields name, or none after saying which is wrong.
    function numbersIn(fields) {
      say();
      const numbers = fields.map(({ value }) => places.find(value));
      const wrong = fields[numbers.indexOf(undefined)];
      if (!wrong) return numbers;
      wrong.focus();
      const expected = [" is not on this land: expected a channel of ", isthmus.quoted(places.layer), "."];
      say(isthmus.quoted(wrong.value.trim() || "Nothing"), ...expected);
      return [];
    }

    function showColours({ target: { value } }) {
      const colours = value ? layers.colours(value) : null;
      byId("land-legend").hidden = !colours;
      if (value === "dead") {
        const number = `${isthmus.whole(colours.count)} of ${isthmus.counted(places.count, "neuron")}`;
        byId("land-legend").replaceChildren(element("span", { className: "red" }), `${number}: ${isthmus.UNEXCITED}`);
      } else if (colours) {
        const { meaning } = layers.SCORES[value];
        const [least, most] = [colours.least, colours.most].map(isthmus.short);
        byId("land-legend").replaceChildren(least, element("span", { className: "ramp" }), `${most}: ${meaning}`);
      }
      view.choose({ colours });
    }

    function tellLines([seen, drawn]) {
      const number = drawn < seen ? `(the ${isthmus.whole(drawn)} most similar of ${isthmus.whole(seen)} in view)` : "";
      if (byId("land-lines-number").textContent !== number) byId("land-lines-number").textContent = number;
    }

    return { show, needs: () => [], leave };
  })(),
);
