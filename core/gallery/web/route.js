"use strict";

// The route: the shortest path of roads between two neurons, as one movie, and as portraits with strips between them.
isthmus.route = (() => {
  const { address, byId, element, names, pairs, roads } = isthmus;
  const SHORTEST =
    "Shortest means the fewest strips; if several routes have equally few, the smallest sum of their pixel change (Δ).";
  const [from, to] = ["route-from", "route-to"].map(byId);
  const [play, scrubber, place, missing] = ["route-play", "route-scrubber", "route-place", "route-lost"].map(byId);
  const movie = isthmus.movie(byId("route-movie"), { onMove: showPosition, onMissing: addMissing, onEnd: showPlaying });

  let legs = [];
  let wanted = null; // the route that is looked for, until the keys of its strips are loaded

  async function show(value) {
    roads.find();
    leave();
    movie.clear();
    missing.hidden = true;
    missing.replaceChildren();
    const read = names.read(names.split(value ?? ""), roads.hasRoads);
    const written = read.map((one) => one.written);
    [from.value, to.value] = [written[0] ?? "", written[1] ?? ""];
    byId("route-title").textContent = "Route";
    byId("route-form").hidden = !pairs.hasRoads();
    byId("route-stage").hidden = true;
    legs = [];
    const found = (wanted = find(read));
    if (found) await pairs.load(["key"], found.rows);
    if (found && found === wanted) showRoute(found);
    return written.length < 2 ? "Route" : `${written[0]} to ${written[1]}`;
  }

  function leave() {
    movie.pause();
    showPlaying();
  }

  const say = (...words) => byId("route-state").replaceChildren(...words);

  // Return the shortest route, or say why there is none.
  function find(read) {
    const whyNot = roads.whyNot("route", read);
    if (whyNot) return say(...whyNot);
    const [start, target] = read.map(({ found }) => found[0]);
    if (read.length < 2) return explain(start);
    if (read.length > 2) return say("A route has two ends: name two neurons. A walk may visit more of them.");
    if (start === target) return say("Both are the same neuron; name two different ones.");
    const found = roads.shortest(start, target);
    if (found) return found;
    say(
      "No route leads from ",
      isthmus.inWords(start),
      " to ",
      isthmus.inWords(target),
      ". A spec that selects its pairs by ",
      roads.code("nearest"),
      " with ",
      roads.code("connect: true"),
      " makes an atlas with a route between any two of its neurons in a layer.",
    );
  }

  // Say what a route is, and offer examples: from a neuron if it is given.
  function explain(start) {
    const [one, other] = roads.longRoute(start);
    const long = element(
      "a",
      { href: address.to("route", names.write([one, other])) },
      "a long route, from ",
      isthmus.inWords(one),
      " to ",
      isthmus.inWords(other),
    );
    const random = element("button", { type: "button", textContent: "A random route" });
    random.addEventListener("click", () => (location.hash = address.to("route", names.write(roads.randomRoute()))));
    say(
      "Name two neurons to see the shortest route between them: strips that lead from portrait to portrait. ",
      "A portrait is the image that excites a neuron; a strip between two portraits leads from one to the other. ",
      "For example, ",
      long,
      ". ",
      random,
    );
  }

  // ---- what is seen

  function showRoute({ start, rows }) {
    let here = start;
    legs = rows.map((row) => {
      const leg = roads.leg(row, here);
      here = leg.end;
      return leg;
    });
    byId("route-stage").hidden = false;
    const stops = [legs[0].from, ...legs.map((leg) => leg.to)];
    const between = stops.slice(1, -1).flatMap((neuron, i) => [i ? ", " : ", by way of ", isthmus.inWords(neuron)]);
    const strips = isthmus.counted(legs.length, "strip");
    say(
      strips,
      " from ",
      isthmus.inWords(stops[0]),
      " to ",
      isthmus.inWords(stops.at(-1)),
      ...between,
      `. ${SHORTEST}`,
    );
    byId("route-walk").href = address.to("walk", `${names.write(stops)}..goal..${isthmus.joinNames([stops.at(-1).name])}`);
    movie.set(legs);
    scrubber.max = movie.end();
    byId("route-strips").replaceChildren(
      stopOf(legs[0], 0),
      ...legs.flatMap((leg) => [stripOf(leg), stopOf(leg, leg.steps)]),
    );
    showPosition();
  }

  // Create a button with the portrait at the beginning or end of a leg; it moves the movie there.
  function stopOf(leg, frame) {
    const neuron = frame ? leg.to : leg.from;
    const mark = names.markIn(leg.row, neuron);
    const button = element(
      "button",
      { type: "button", className: "stop" },
      roads.frameOf(leg, frame),
      isthmus.neuronName(neuron, mark),
    );
    const said = mark ? `, ${isthmus.MARKS[mark].word}` : "";
    button.setAttribute("aria-label", `To the portrait of ${neuron.name}${said}`);
    button.dataset.position = leg.start + frame;
    button.addEventListener("click", () => goTo(leg.start + frame));
    return element("li", {}, button);
  }

  // Create a link to the page of a leg's pair, with the frames between the two portraits.
  function stripOf(leg) {
    const strip = element("a", { className: "frames", href: address.to("pair", leg.pair.key) });
    strip.setAttribute("aria-label", `Strip from ${leg.from.name} to ${leg.to.name}`);
    const showMissing = (_, words) => strip.replaceChildren(words); // once for the whole strip
    for (let frame = 1; frame < leg.steps; frame++) strip.append(roads.frameOf(leg, frame, showMissing));
    return element("li", {}, strip);
  }

  // ---- the movie

  // Show the movie's position. Screen readers announce it only at portraits.
  function showPosition() {
    const { leg, frame } = movie.now();
    if (!leg) return;
    const stop = frame === 0 ? leg.from : frame === leg.steps ? leg.to : null;
    const words = stop
      ? `At ${stop.name}`
      : `From ${leg.from.name} to ${leg.to.name}, frame ${frame + 1} of ${leg.pair.frames}`;
    scrubber.value = Math.round(movie.position);
    scrubber.setAttribute("aria-valuetext", words);
    if (stop && place.textContent !== words) place.textContent = words;
    for (const button of byId("route-strips").querySelectorAll(".stop")) {
      const isHere = stop !== null && Number(button.dataset.position) === leg.start + frame;
      isHere ? button.setAttribute("aria-current", "step") : button.removeAttribute("aria-current");
    }
  }

  function addMissing(leg) {
    if (!legs.includes(leg)) return;
    missing.hidden = false;
    missing.append(
      element(
        "span",
        {},
        isthmus.quoted(isthmus.previewPath(leg.pair.key)),
        ` could not be read: the movie skips the strip from ${leg.from.name} to ${leg.to.name}. `,
      ),
    );
  }

  function showPlaying() {
    play.textContent = movie.isPlaying() ? "Pause" : "Play";
  }

  function toggle() {
    if (movie.isPlaying()) movie.pause();
    else {
      if (movie.position === movie.end()) movie.goTo(0);
      movie.play();
    }
    showPlaying();
  }

  function goTo(position) {
    movie.pause();
    movie.goTo(position);
    showPlaying();
  }

  play.addEventListener("click", toggle);
  scrubber.addEventListener("input", () => goTo(Number(scrubber.value)));
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || byId("route-stage").offsetParent === null)
      return;
    const { localName } = event.target;
    if (event.target === from || event.target === to || localName === "select") return;
    if (event.key === " " && localName !== "button") toggle();
    else {
      const now = Math.round(movie.position);
      const target = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: movie.end() }[event.key];
      if (target === undefined) return;
      goTo(target);
    }
    event.preventDefault();
  });

  // ---- naming neurons

  for (const field of [from, to]) names.suggest(field, roads.hasRoads);
  byId("route-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const written = [from, to].map((field) => field.value.trim());
    const empty = [from, to].find((field) => !field.value.trim());
    if (empty) empty.focus();
    else location.hash = address.to("route", isthmus.joinNames(written));
  });

  return { show, needs: () => [...pairs.names, "smoothness", "distance"], leave };
})();
