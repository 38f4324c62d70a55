"use strict";

// The walk: a neuron's portrait, and around it the portraits that its roads lead to. When the reader chooses a road,
// its strip plays; then the neuron at its other end is shown with its own roads. Breadcrumbs and address list the
// neurons that the walk has visited.
isthmus.walk = (() => {
  const { address, byId, element, pairs, roads } = isthmus;
  const AROUND = 10; // roads around the portrait
  const LISTED = 30; // further roads, listed beside it
  const KEPT = 50; // neurons in the address
  const stage = byId("walk-stage");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const movie = isthmus.movie(byId("portrait"), { onMissing: handleMissing, onEnd: arrive });

  let walked = []; // portraits, the last one is where the reader is
  let around = []; // rows of its roads
  let trip = null; // while a strip plays: its leg, and whether the reader chose it
  let ahead = null; // the leg that a drift takes next
  let isDrifting = false;

  function show(value) {
    roads.find();
    leave();
    movie.clear();
    byId("walk-lost").hidden = true;
    const names = roads.read(value);
    const whyNot = roads.whyNot(names);
    stage.hidden = Boolean(whyNot);
    byId("walk-form").hidden = !pairs.hasRoads();
    if (whyNot) {
      byId("walk-title").textContent = "Walk";
      say(...whyNot);
      return "Walk";
    }
    walked = names.length ? along(names.map((name) => pairs.neuronByName.get(name))) : [roads.busiest()];
    return showHere(names.length - walked.length);
  }

  function leave() {
    drift(false);
    movie.pause();
    trip = ahead = null;
    stage.classList.remove("travelling");
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
    byId("walk-title").replaceChildren(isthmus.neuronLink(here));
    byId("portrait").setAttribute("aria-label", `Portrait of ${here.name}`);
    byId("portrait").title =
      `The portrait of ${here.name}: the image that excites it, on which all its roads begin or end`;
    byId("around").replaceChildren(...around.slice(0, AROUND).map(roadOf));
    byId("around").style.setProperty("--roads", Math.min(around.length, AROUND));
    showFurther(here);
    showCrumbs();
    const number =
      around.length === 1
        ? "1 road leads on: a strip from this portrait to another."
        : `${around.length} roads lead on: strips from this portrait to others.`;
    const broken = cut > 0 ? " The address names neurons that no road joins; the walk begins after them." : "";
    say("At ", isthmus.inWords(here), `. ${number}${broken}`);
    showPortrait(around[0]);
    return `At ${here.name}`;
  }

  const showPortrait = (row) => row !== undefined && movie.set([roads.leg(row, walked.at(-1))]);

  function showFurther(here) {
    const further = around.slice(AROUND);
    byId("further").hidden = further.length === 0;
    const noun = further.length === 1 ? "road" : "roads";
    byId("further-title").textContent = `${isthmus.whole(further.length)} further ${noun}`;
    byId("further-roads").replaceChildren(...further.slice(0, LISTED).map(roadOf));
    if (further.length <= LISTED) return;
    const all = element("a", { href: address.to("neuron", here.name), textContent: "All pairs of this neuron" });
    byId("further-roads").append(element("li", {}, all));
  }

  // Create the link to a road: the portrait and the name of the neuron that it leads to.
  function roadOf(row, place) {
    const leg = roads.leg(row, walked.at(-1));
    const link = element("a", { className: "road", href: hrefOf([...walked, leg.end]) });
    const distance = isthmus.short(pairs.columns.distance[row]);
    link.dataset.row = row;
    link.setAttribute("aria-label", `Walk to ${leg.to.name}, similarity ${distance}`);
    link.title = `${leg.to.name}\n≈ ${distance}`;
    link.classList.toggle("same-layer", leg.to.layer === leg.from.layer);
    const portrait = roads.frameOf(leg, leg.pair.frames - 1);
    portrait.loading = place < AROUND ? "eager" : "lazy";
    portrait.addEventListener("error", () =>
      portrait.replaceWith(element("span", { className: "no-picture", textContent: "No picture" })),
    );
    link.append(portrait, isthmus.neuronName(leg.to));
    const item = element("li", {}, link);
    item.style.setProperty("--place", place);
    return item;
  }

  const hrefOf = (portraits) => address.to("walk", roads.write(portraits.slice(-KEPT).map(roads.neuronOf)));

  function showCrumbs() {
    const neurons = walked.map(roads.neuronOf);
    const crumbs = neurons.map((neuron, i) => {
      const name = neuron.layer === neurons[i - 1]?.layer ? `:${neuron.channel}` : isthmus.inWords(neuron);
      const crumb = element("a", { href: hrefOf(walked.slice(0, i + 1)), title: neuron.name }, name);
      if (i === neurons.length - 1) crumb.setAttribute("aria-current", "location");
      return element("li", {}, crumb);
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
    trip = { leg, isChosen: !isDrifting };
    byId("walk-lost").hidden = true;
    movie.set([leg]);
    if (leg.missing) sayMissing(leg);
    if (still.matches) return arrive();
    stage.classList.add("travelling");
    byId("portrait").setAttribute("aria-label", `Strip from ${leg.from.name} to ${leg.to.name}`);
    if (isDrifting) movie.load((ahead = choose(leg.end, walked.at(-1))));
    movie.play();
  }

  function arrive() {
    const { leg, isChosen } = trip;
    const isByHand = document.activeElement?.closest("#walk-stage .road");
    movie.goTo(movie.end());
    trip = null;
    walked = [...walked, leg.end].slice(-KEPT);
    stage.classList.remove("travelling");
    address.follow("walk", roads.write(walked.map(roads.neuronOf)), showHere(), isChosen);
    if (isByHand) byId("around").querySelector(".road").focus();
    if (leg.missing) drift(false);
    if (isDrifting) go(ahead);
  }

  // The picture of a leg could not be read. If its strip plays, name the file on the page. If only its portrait was
  // needed, take the portrait from the next strip that has it.
  function handleMissing(leg) {
    const next = around[around.indexOf(leg.row) + 1];
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

  byId("drift").addEventListener("click", () => {
    if (still.matches) return go(choose(walked.at(-1), walked.at(-2)));
    drift(!isDrifting);
    if (isDrifting) go(choose(walked.at(-1), walked.at(-2)));
    else if (trip) arrive();
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

  function choose(here, before) {
    const all = [...roads.from(here)];
    const onward = all.filter((row) => roads.leg(row, here).end !== before);
    const rows = onward.length ? onward : all;
    return roads.leg(rows[Math.floor(Math.random() * rows.length)], here);
  }

  // ---- beginning elsewhere

  roads.suggest(byId("walk-neuron"));
  byId("walk-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = byId("walk-neuron").value.trim();
    if (name) location.hash = address.to("walk", isthmus.joinNames([name]));
  });

  return { show, needs: () => [...pairs.tile, "smoothness", "distance"], leave };
})();
