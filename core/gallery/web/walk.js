"use strict";

// The walk: a neuron's portrait, and around it the portraits that its roads lead to. When the reader chooses a road,
// its strip plays; then the neuron at its other end is shown with its own roads. Breadcrumbs and address list the
// neurons that the walk has visited, and its goal if it has one: `mixed4a:476..12..goal..mixed4a:3`.
isthmus.walk = (() => {
  const { address, byId, element, names, pairs, roads } = isthmus;
  const AROUND = 10; // roads around the portrait
  const LISTED = 30; // further roads, listed beside it
  const SHOWN = AROUND + LISTED;
  const KEPT = 50; // neurons in the address
  const GOAL = "goal"; // in the address, before the goal
  const stage = byId("walk-stage");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const movie = isthmus.movie(byId("portrait"), { onMissing: handleMissing, onEnd: arrive });

  let walked = []; // portraits, the last one is where the reader is
  let around = []; // rows of its roads
  let trip = null; // while a strip plays: its leg, and whether the reader chose it
  let ahead = null; // promise of the leg that a drift takes next
  let isDrifting = false;
  let goal = null; // the neuron that the walk leads to, if it has a goal

  async function show(value) {
    roads.find();
    leave();
    movie.clear();
    byId("walk-lost").hidden = true;
    const texts = names.split(value ?? "");
    const named = texts.indexOf(GOAL);
    const read = names.read(
      texts.filter((_, i) => i !== named),
      roads.hasRoads,
    );
    const whyNot = roads.whyNot("walk", read);
    stage.hidden = Boolean(whyNot);
    byId("walk-form").hidden = !pairs.hasRoads();
    if (whyNot) {
      byId("walk-title").textContent = "Walk";
      say(...whyNot);
      return "Walk";
    }
    const neurons = read.map(({ found }) => found[0]);
    goal = named < 0 ? null : (neurons.splice(named)[0] ?? null);
    const going = neurons.length ? along(neurons) : [goal ? roads.portraitsOf(goal)[0] : roads.busiest()];
    walked = going;
    stage.hidden = true; // until the keys of its roads are loaded
    await loadRoads(going.at(-1));
    if (walked !== going) return ""; // the reader has gone elsewhere
    stage.hidden = false;
    return showHere(neurons.length - walked.length);
  }

  // Load the keys of the roads that are shown around a portrait.
  const loadRoads = (portrait) => pairs.load(["key"], roads.from(portrait).slice(0, SHOWN));

  function leave() {
    drift(false);
    movie.pause();
    trip = ahead = null;
    stage.classList.remove("travelling");
    showPause();
  }

  const say = (...words) => byId("walk-state").replaceChildren(...words);

  // Return the portraits of these neurons, from the last one back until no road joins two of them. With several
  // settings, return the longest such walk.
  function along(neurons) {
    const walks = roads.portraitsOf(neurons.at(-1)).map((last) => {
      const walk = [last];
      for (const neuron of neurons.slice(0, -1).reverse()) {
        const portrait = roads.portraitOf(neuron.id, roads.settingOf(last));
        if (!roads.isJoined(portrait, walk[0])) break;
        walk.unshift(portrait);
      }
      return walk;
    });
    return walks.sort((p, q) => q.length - p.length)[0];
  }

  // ---- what is seen

  // Show where the reader is. `cut` neurons of the address were left out because no road leads on from them.
  function showHere(cut = 0) {
    const here = roads.neuronOf(walked.at(-1));
    around = [...roads.from(walked.at(-1))];
    const { everywhere } = names.marksIn(around, here);
    const way = wayToGoal();
    byId("walk-title").replaceChildren(isthmus.neuronLink(here, everywhere), here === goal ? goalMark("goal") : "");
    byId("portrait").setAttribute("aria-label", `Portrait of ${here.name}`);
    byId("portrait").title =
      `The portrait of ${here.name}: the image that excites it, on which all its roads begin or end`;
    byId("around").replaceChildren(...around.slice(0, AROUND).map((row, place) => roadOf(row, place, way)));
    byId("around").style.setProperty("--roads", Math.min(around.length, AROUND));
    showFurther(here, way);
    showCrumbs();
    const number =
      around.length === 1
        ? "1 road leads on: a strip from this portrait to another."
        : `${around.length} roads lead on: strips from this portrait to others.`;
    const broken = cut > 0 ? " The address names neurons that no road joins; the walk begins after them." : "";
    say("At ", isthmus.inWords(here), `. ${number}${broken}`, ...wordsOnGoal(here, way));
    showPortrait(around[0]);
    return `At ${here.name}`;
  }

  // ---- the goal

  const goalMark = (textContent) => element("span", { className: "goal", textContent });

  // Return the rows of the shortest way to the goal, or null if there is none.
  function wayToGoal() {
    const here = walked.at(-1);
    return goal && roads.shortestBetween(here, roads.portraitOf(goal.id, roads.settingOf(here)))?.rows;
  }

  function wordsOnGoal(here, way) {
    if (!goal) return [];
    const name = isthmus.inWords(goal);
    if (here === goal) return [" This is the goal of the walk."];
    if (!way) return [" No way leads on to the goal, ", name, "."];
    const strips = way.length === 1 ? "1 strip" : `${isthmus.whole(way.length)} strips`;
    return [" The goal is ", name, `, ${strips} from here; the road that leads there is marked.`];
  }

  const showPortrait = (row) => row !== undefined && movie.set([roads.leg(row, walked.at(-1))]);

  function showFurther(here, way) {
    const further = around.slice(AROUND);
    byId("further").hidden = further.length === 0;
    const noun = further.length === 1 ? "road" : "roads";
    byId("further-title").textContent = `${isthmus.whole(further.length)} further ${noun}`;
    byId("further-roads").replaceChildren(...further.slice(0, LISTED).map((row) => roadOf(row, AROUND, way)));
    if (further.length <= LISTED) return;
    const all = element("a", { href: address.to("neuron", here.name), textContent: "All pairs of this neuron" });
    byId("further-roads").append(element("li", {}, all));
  }

  // Create the link to a road: the portrait and the name of the neuron that it leads to. `way` leads to the goal.
  function roadOf(row, place, way) {
    const leg = roads.leg(row, walked.at(-1));
    const link = element("a", { className: "road", href: hrefOf([...walked, leg.end]) });
    const { label, sign } = pairs.SCORES.distance ?? {};
    const distance = isthmus.short(pairs.columns.distance[row]);
    const mark = names.markIn(row, leg.to);
    const isGoal = leg.to === goal;
    const isOnWay = way?.[0] === row;
    const facts = [label && `${label.toLowerCase()} ${distance}`, mark && isthmus.MARKS[mark].word];
    if (isGoal || isOnWay) facts.push(isGoal ? "the goal" : "on the way to the goal");
    link.dataset.row = row;
    link.setAttribute("aria-label", [`Walk to ${leg.to.name}`, ...facts.filter(Boolean)].join(", "));
    link.title = [leg.to.name, sign && `${sign} ${distance}`].filter(Boolean).join("\n");
    link.classList.toggle("same-layer", leg.to.layer === leg.from.layer);
    link.classList.toggle("on-way", isOnWay);
    const portrait = roads.frameOf(leg, leg.pair.frames - 1, (image, words) => {
      words.classList.add("no-picture");
      image.replaceWith(words);
    });
    portrait.loading = place < AROUND ? "eager" : "lazy";
    link.append(portrait, isthmus.neuronName(leg.to, mark));
    if (isGoal || isOnWay) link.append(goalMark(isGoal ? "goal" : "→ goal"));
    const item = element("li", {}, link);
    item.style.setProperty("--place", place);
    return item;
  }

  const hrefOf = (portraits) => address.to("walk", written(portraits));

  function written(portraits) {
    const text = names.write(portraits.slice(-KEPT).map(roads.neuronOf));
    return goal ? `${text}..${GOAL}..${isthmus.joinNames([goal.name])}` : text;
  }

  function showCrumbs() {
    const neurons = walked.map(roads.neuronOf);
    const crumbs = neurons.map((neuron, i) => {
      const name = neuron.layer === neurons[i - 1]?.layer ? `:${neuron.channel}` : isthmus.inWords(neuron);
      const crumb = element("a", { href: hrefOf(walked.slice(0, i + 1)), title: neuron.name }, name);
      if (i === neurons.length - 1) crumb.setAttribute("aria-current", "location");
      return element("li", {}, crumb, neuron === goal ? goalMark("goal") : "");
    });
    byId("crumbs").replaceChildren(...crumbs);
    byId("crumbs").scrollTop = byId("crumbs").scrollHeight;
  }

  // ---- going

  stage.addEventListener("click", (event) => {
    const link = event.target.closest(".road");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    if (trip)
      arrive(); // the reader does not wait for the end of the strip
    else go(roads.leg(Number(link.dataset.row), walked.at(-1)));
  });

  // Play a strip from its beginning to its end. For a reader who asked for less motion, show its end at once.
  function go(leg) {
    trip = { leg, isChosen: !isDrifting, loading: loadRoads(leg.end) };
    trip.loading.catch(() => {}); // reported on arrival
    byId("walk-lost").hidden = true;
    movie.set([leg]);
    if (leg.missing) sayMissing(leg);
    if (still.matches) return arrive();
    stage.classList.add("travelling");
    for (const road of stage.querySelectorAll(".road"))
      road.classList.toggle("ahead", Number(road.dataset.row) === leg.row);
    byId("portrait").setAttribute("aria-label", `Strip from ${leg.from.name} to ${leg.to.name}`);
    say("From ", isthmus.inWords(leg.from), " to ", isthmus.inWords(leg.to), "…");
    ahead = isDrifting ? chooseLeg(leg.end, walked.at(-1)) : null;
    ahead?.then(movie.load, () => {}); // reported on arrival
    movie.play();
    showPause();
  }

  // Pause the strip that plays, or let it go on.
  function pause() {
    movie.isPlaying() ? movie.pause() : movie.play();
    showPause();
  }

  function showPause() {
    byId("walk-pause").hidden = !trip;
    byId("walk-pause").textContent = movie.isPlaying() ? "Pause" : "Go on";
  }

  async function arrive() {
    const arriving = trip;
    if (!arriving) return;
    const { leg, isChosen } = arriving;
    const isByHand = document.activeElement?.closest("#walk-stage .road");
    movie.goTo(movie.end());
    try {
      await arriving.loading;
    } catch (error) {
      if (trip === arriving) lose(error);
    }
    if (trip !== arriving) return; // the reader has gone elsewhere, or has arrived already
    trip = null;
    walked = [...walked, leg.end].slice(-KEPT);
    stage.classList.remove("travelling");
    address.follow("walk", written(walked), showHere(), isChosen);
    showPause();
    if (isByHand) byId("around").querySelector(".road").focus();
    if (leg.missing) drift(false);
    if (isDrifting) driftOn(ahead ?? undefined);
  }

  function lose(error) {
    leave();
    address.lost(error);
  }

  // The picture of a leg could not be read. If its strip plays, name the file on the page. If only its portrait was
  // needed, take the portrait from the next strip that has it.
  function handleMissing(leg) {
    const next = around.slice(0, SHOWN)[around.indexOf(leg.row) + 1];
    if (trip?.leg === leg || (!trip && next === undefined)) sayMissing(leg);
    else if (!trip) showPortrait(next);
  }

  function sayMissing(leg) {
    byId("walk-lost").hidden = false;
    byId("walk-lost").replaceChildren(
      isthmus.quoted(isthmus.previewPath(leg.pair.key)),
      " could not be read, so this strip is not shown. You can walk on.",
    );
  }

  // ---- drifting: on at random, and straight back only if there is no other road

  byId("drift").addEventListener("click", toggleDrift);
  byId("walk-pause").addEventListener("click", pause);

  function toggleDrift() {
    if (!still.matches) drift(!isDrifting);
    if (!isDrifting && trip) arrive();
    else if (!trip) driftOn();
  }

  // Walk along a leg, by default one at random.
  async function driftOn(next = chooseLeg(walked.at(-1), walked.at(-2))) {
    const here = walked;
    try {
      const leg = await next;
      if (walked === here && !trip && (isDrifting || still.matches)) go(leg);
    } catch (error) {
      if (walked === here) lose(error);
    }
  }

  // Space pauses the strip that plays; if none plays, it starts to drift.
  addEventListener("keydown", (event) => {
    if (event.key !== " " || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    if (stage.offsetParent === null || event.target.closest?.("button, input, select, textarea, summary")) return;
    event.preventDefault();
    trip ? pause() : toggleDrift();
  });
  still.addEventListener("change", () => {
    drift(false);
    if (trip) arrive();
  });

  function drift(wanted) {
    isDrifting = wanted;
    byId("drift").setAttribute("aria-pressed", wanted);
    byId("drift").textContent = wanted ? "Stop drifting" : still.matches ? "Drift by one strip" : "Drift";
  }

  async function chooseLeg(here, before) {
    const all = [...roads.from(here)];
    const onward = all.filter((row) => roads.otherEnd(row, here) !== before);
    const rows = onward.length ? onward : all;
    const row = rows[Math.floor(Math.random() * rows.length)];
    await pairs.load(["key"], [row]);
    return roads.leg(row, here);
  }

  // ---- beginning elsewhere

  names.suggest(byId("walk-neuron"), roads.hasRoads);
  byId("walk-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = byId("walk-neuron").value.trim();
    if (name) location.hash = address.to("walk", isthmus.joinNames([name]));
  });

  return { show, needs: () => [...pairs.names, "smoothness", "distance"], leave };
})();
