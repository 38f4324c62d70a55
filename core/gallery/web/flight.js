"use strict";

// The flight: a window of one cell that moves straight over the land from one neuron's place to another's. It is played
// and scrubbed like the strip of the same pair, which is shown beside it if the atlas has one.
isthmus.flight = ({ view, onMissing }) => {
  const { byId, element, places } = isthmus;
  const STEPS = 24; // of the scrubber, for a cell
  const WINDOW = 0.4; // of the height of the view
  const EDGE = 12; // px around the strip, see land.css
  const FRAMES = 4; // of a strip, in the time in which the flight moves by a cell
  const NAMED = 8; // neurons that a sentence names
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const [play, scrubber, place] = ["flight-play", "flight-scrubber", "flight-place"].map(byId);
  const movie = isthmus.movie(byId("flight-strip"), { onMissing: showNoStrip });
  let ends = null; // two numbers of neurons, or null if there is no flight
  let position = 0; // cells from the first
  let request = 0; // of the next frame, 0 while nothing plays
  let before = 0; // ms, time of the last frame

  const centres = () => ends.map(places.centre);

  // Return the length of the flight in cells.
  function length() {
    const [from, to] = centres();
    return Math.hypot(to.x - from.x, to.y - from.y) / places.cell_px;
  }

  function set(first, last) {
    pause();
    ends = [first, last];
    view.choose({ way: centres() });
    scrubber.max = Math.ceil(length() * STEPS);
    byId("flight-beside").hidden = true;
    movie.set([]);
    byId("flight").hidden = byId("flight-words").hidden = false;
    byId("flight-words").replaceChildren();
    goTo(0);
    showStrip(ends);
  }

  // Show the strip of the two neurons, if there is one, once it is known.
  async function showStrip(wanted) {
    const { pairs } = isthmus;
    await places.known;
    const row = places.stripOf(...wanted);
    if (row !== undefined) await pairs.loadTiles([row]);
    if (wanted !== ends) return;
    const pair = row === undefined ? null : pairs.at(row);
    byId("flight-beside").hidden = !pair;
    movie.set(pair ? [{ row, pair, isForward: pair.a === places.neurons[wanted[0]] }] : []);
    byId("flight-words").replaceChildren(...words(pair));
    goTo(position);
  }

  function clear() {
    pause();
    ends = null;
    view.choose({ way: null });
    for (const id of ["flight", "flight-words", "flight-beside"]) byId(id).hidden = true;
  }

  const named = (number) => isthmus.inWords(places.neurons[number]);

  function words(pair) {
    const [first, last] = ends;
    const over = crossed();
    const between = over.slice(0, NAMED).flatMap((number, i) => [i ? ", " : " It passes over ", channel(number)]);
    if (over.length > NAMED) between.push(` and ${over.length - NAMED} more`);
    if (over.length) between.push(".");
    const flight = ["From ", named(first), " to ", named(last), ": a window of one cell moves straight over the land."];
    if (!pair) return [...flight, ...between, " This atlas has no strip of this pair."];
    const link = element("a", { href: isthmus.address.to("pair", pair.key), textContent: "strip of this pair" });
    return [
      ...flight,
      ...between,
      " The ",
      link,
      " was optimised for these two neurons alone, and each of its frames excites a mix of both; the flight shows whatever lies between them.",
    ];
  }

  const channel = (number) => `:${places.neurons[number].channel}`;

  // Return the neurons whose places the flight crosses, except the two at its ends.
  function crossed() {
    const [from, to] = centres();
    const samples = Math.ceil(length() * 16);
    const over = new Set();
    for (let i = 1; i < samples; i++) {
      const share = i / samples;
      over.add(places.numberUnder(from.x + share * (to.x - from.x), from.y + share * (to.y - from.y)));
    }
    return [...over].filter((number) => !ends.includes(number));
  }

  // Move the window to a place on the way, in cells from its beginning.
  function goTo(wanted) {
    const whole = length();
    position = Math.max(0, Math.min(whole, wanted));
    const share = position / whole;
    const [from, to] = centres();
    const now = { x: from.x + share * (to.x - from.x), y: from.y + share * (to.y - from.y) };
    const side = windowSide();
    byId("flight-beside").style.width = `${Math.round(side) + 8}px`; // with its padding
    view.guide({ ...now, zoom: side / places.cell_px });
    movie.goTo(share * movie.end());
    scrubber.value = Math.round(position * STEPS);
    const shares = places.sharesAt(now.x, now.y).map(([number, part]) => `${channel(number)} ${percent(part)}`);
    scrubber.setAttribute("aria-valuetext", shares.join(", "));
    place.textContent = `${position.toFixed(1)} of ${whole.toFixed(1)} cells`;
  }

  const percent = (share) => `${Math.round(share * 100)} %`;

  // Return the side of the window on the screen, px. The strip is as large and has room to the right of it.
  function windowSide() {
    const { clientWidth, clientHeight } = byId("land-view");
    return Math.max(16, Math.min(WINDOW * clientHeight, (clientWidth / 2 - 2 * EDGE) / 1.5));
  }

  function showNoStrip({ pair }) {
    byId("flight-beside").hidden = true;
    onMissing(isthmus.previewPath(pair.key));
  }

  // ---- playing

  function start() {
    if (position >= length()) goTo(0);
    if (still.matches) return goTo(length()); // for a reader who asked for less motion
    before = performance.now();
    request = requestAnimationFrame(tick);
    showPlaying();
  }

  function pause() {
    cancelAnimationFrame(request);
    request = 0;
    showPlaying();
  }

  function tick(now) {
    const cells = Math.min(0.25, Math.max(0, now - before) / (FRAMES * isthmus.strip.frameMilliseconds()));
    before = now;
    goTo(position + cells);
    request = position < length() ? requestAnimationFrame(tick) : 0;
    if (!request) showPlaying();
  }

  function showPlaying() {
    play.textContent = request ? "Pause" : "Play";
    play.setAttribute("aria-pressed", request !== 0);
  }

  play.addEventListener("click", () => (request ? pause() : start()));
  scrubber.addEventListener("input", () => {
    pause();
    goTo(Number(scrubber.value) / STEPS);
  });

  return { set, clear, start, pause, isOn: () => ends !== null };
};
