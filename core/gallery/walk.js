"use strict";

// The walk: a neuron's portrait with its roads around it. Whoever takes one sees the strip, arrives at the neuron at its
// other end, and finds the roads of that one. The crumbs say which neurons one came by, and so does the address.
isthmus.walk = (() => {
  const { address, byId, element, pairs, roads } = isthmus;
  const AROUND = 10; // roads around the portrait
  const LISTED = 30; // further ones
  const KEPT = 50; // neurons in the address
  const stage = byId("walk-stage");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const movie = isthmus.movie(byId("portrait"), { lost, ended: arrive });

  let walked = []; // places, the last one is where the reader is
  let around = []; // rows of its roads
  let trip = null; // the leg that is on the screen, with the place it leads to
  let ahead = null; // the leg that a drift takes next
  let isDrifting = false;

  function show(value) {
    leave();
    movie.clear();
    byId("walk-lost").hidden = true;
    const names = roads.read(value);
    const begun = pairs.hasRoads() ? begin(names) : noRoads();
    stage.hidden = !begun;
    byId("walk-form").hidden = !pairs.hasRoads();
    if (begun) return unfold(names.length - walked.length);
    byId("walk-title").textContent = "Walk";
    return "Walk";
  }

  function leave() {
    drift(false);
    movie.pause();
    trip = ahead = null;
    stage.classList.remove("travelling");
  }

  function noRoads() {
    say(
      "The strips of this atlas do not meet, so there is nothing to walk along. A spec with ",
      code("strip: walk"),
      " makes an atlas in which they do.",
    );
  }

  const code = (textContent) => element("code", { textContent });

  const say = (...words) => byId("walk-state").replaceChildren(...words);

  // Whether one can stand where these names lead.
  function begin(names) {
    const neurons = names.map((name) => pairs.neuronByName.get(name));
    const unknown = neurons.findIndex((neuron) => !neuron || roads.placesOf(neuron).length === 0);
    if (unknown >= 0)
      return say(
        "No strip that one could walk along begins at ",
        isthmus.quoted(names[unknown]),
        " in this atlas. Begin at another neuron.",
      );
    walked = names.length ? along(neurons) : [roads.busiest()];
    return true;
  }

  // The places of neurons that somebody has come by, in the settings in which most of them are joined: the last of them,
  // back to where no road led on.
  function along(neurons) {
    const walks = roads.placesOf(neurons.at(-1)).map((last) => {
      const walk = [last];
      for (const neuron of neurons.slice(0, -1).reverse()) {
        const place = roads.placeOf(neuron.id, roads.settingAt(last));
        if (!roads.isJoined(place, walk[0])) break;
        walk.unshift(place);
      }
      return walk;
    });
    return walks.sort((p, q) => q.length - p.length)[0];
  }

  // ---- what is seen

  // Show where the reader stands; `cut` neurons of the address were left out because no road leads on from them.
  function unfold(cut = 0) {
    const here = roads.neuronAt(walked.at(-1));
    around = [...roads.from(walked.at(-1))];
    byId("walk-title").replaceChildren(isthmus.neuronLink(here));
    byId("portrait").setAttribute("aria-label", `Portrait of ${here.name}`);
    byId("around").replaceChildren(...around.slice(0, AROUND).map(roadOf));
    byId("around").style.setProperty("--roads", Math.min(around.length, AROUND));
    showFurther(here);
    showCrumbs();
    const number = `${around.length} ${around.length === 1 ? "road leads" : "roads lead"} on.`;
    const broken = cut > 0 ? " The address names neurons that no road joins; the walk begins after them." : "";
    say("At ", isthmus.inWords(here), `. ${number}${broken}`);
    showPortrait(around[0]);
    return `At ${here.name}`;
  }

  const showPortrait = (row) => row !== undefined && movie.set([roads.leg(row, walked.at(-1))]);

  function showFurther(here) {
    const further = around.slice(AROUND);
    byId("further").hidden = further.length === 0;
    byId("further-title").textContent = `${isthmus.whole(further.length)} further`;
    byId("further-roads").replaceChildren(...further.slice(0, LISTED).map(roadOf));
    if (further.length <= LISTED) return;
    const all = element("a", { href: address.to("neuron", here.name), textContent: "All pairs of this neuron" });
    byId("further-roads").append(element("li", {}, all));
  }

  // A road as the portrait that it leads to.
  function roadOf(row, place) {
    const here = walked.at(-1);
    const to = roads.otherEnd(row, here);
    const neuron = roads.neuronAt(to);
    const { pair, forward } = roads.leg(row, here);
    const link = element("a", { className: "road", href: hrefOf([...walked, to]) });
    const distance = isthmus.short(pairs.columns.distance[row]);
    link.dataset.row = row;
    link.setAttribute("aria-label", `Walk to ${neuron.name}, similarity ${distance}`);
    link.title = `${neuron.name}\n≈ ${distance}`;
    link.classList.toggle("same-layer", neuron.layer === roads.neuronAt(here).layer);
    const portrait = isthmus.frameOf(isthmus.previewPath(pair.key), pair, forward ? pair.frames - 1 : 0, "");
    portrait.loading = place < AROUND ? "eager" : "lazy";
    portrait.addEventListener("error", () =>
      portrait.replaceWith(element("span", { className: "no-picture", textContent: "No picture" })),
    );
    link.append(portrait, isthmus.neuronName(neuron));
    const item = element("li", {}, link);
    item.style.setProperty("--place", place);
    return item;
  }

  const hrefOf = (places) => address.to("walk", roads.write(places.slice(-KEPT).map(roads.neuronAt)));

  function showCrumbs() {
    const neurons = walked.map(roads.neuronAt);
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
      arrive(); // who is impatient
    else go(roads.leg(Number(link.dataset.row), walked.at(-1)));
  });

  // See a strip from its beginning to its end; who asked for less motion is there at once.
  function go(leg) {
    const from = walked.at(-1);
    trip = { leg, to: roads.otherEnd(leg.row, from), isChosen: !isDrifting };
    byId("walk-lost").hidden = true;
    movie.set([leg]);
    if (still.matches) return arrive();
    stage.classList.add("travelling");
    const [here, there] = [from, trip.to].map(roads.neuronAt);
    byId("portrait").setAttribute("aria-label", `Strip from ${here.name} to ${there.name}`);
    if (isDrifting) movie.load((ahead = choose(trip.to, from)));
    movie.play();
  }

  function arrive() {
    const isByHand = stage.contains(document.activeElement) && document.activeElement.closest(".road");
    movie.goTo(movie.end());
    walked = [...walked, trip.to].slice(-KEPT);
    const { isChosen } = trip;
    trip = null;
    stage.classList.remove("travelling");
    const title = unfold();
    address.follow("walk", roads.write(walked.map(roads.neuronAt)), title, isChosen);
    if (isByHand) byId("around").querySelector(".road").focus();
    if (isDrifting) go(ahead);
  }

  // The picture of a strip could not be read: of the one that is walked along, or of the one that the portrait is from.
  function lost(leg) {
    if (trip && trip.leg.row !== leg.row) return; // told when it is walked along
    if (!trip) showPortrait(around[around.indexOf(leg.row) + 1]);
    byId("walk-lost").hidden = false;
    byId("walk-lost").replaceChildren(
      isthmus.quoted(isthmus.previewPath(leg.pair.key)),
      " could not be read, so this strip cannot be seen. One can go on all the same.",
    );
  }

  // ---- drifting: at random, and back only where there is no other road

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
    const onward = all.filter((row) => roads.otherEnd(row, here) !== before);
    const rows = onward.length ? onward : all;
    return roads.leg(rows[Math.floor(Math.random() * rows.length)], here);
  }

  // ---- beginning elsewhere

  roads.suggest(byId("walk-neuron"));
  byId("walk-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = byId("walk-neuron").value.trim();
    if (name) location.hash = address.to("walk", name);
  });

  return { show, leave };
})();
