"use strict";

// One strip alone, for frames in other pages. The page around may move it with the message { isthmus: { share } }, a
// share of the way from 0 to 1; the strip sends the same when its reader moves it, and { isthmus: { ready: true } }
// when it can be moved.
isthmus.embed = (() => {
  const { byId, film, pairs } = isthmus;
  const slider = byId("embed-strip");
  const frameWindow = slider.firstElementChild;
  const scrubber = isthmus.scrubber(slider, { show: showFrame, words, button: byId("embed-play") });
  let pair = null;

  async function show(key) {
    document.documentElement.classList.add("embedded");
    pair = null;
    const mistake = await load(key ?? "").catch(({ message }) => `${message} could not be read.`);
    byId("embed-state").hidden = !mistake;
    byId("embed-state").textContent = mistake;
    slider.hidden = byId("embed-play").hidden = mistake !== "";
    byId("embed-names").replaceChildren(...(pair ? names() : ["Open the atlas"]));
    byId("embed-names").title = pair ? `${pair.name}: open its page` : "";
    byId("embed-names").href = `${location.pathname}${pair ? `#pair=${pair.key}` : ""}`;
    if (mistake) return mistake;
    film.load(frameWindow, pair, () => {
      byId("embed-state").hidden = false;
      byId("embed-state").textContent = "The picture of this strip could not be read.";
    });
    scrubber.begin(pair.frames);
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) scrubber.play(true);
    tell({ ready: true });
    return pair.name;
  }

  // Load a pair. Return why it cannot be shown.
  async function load(key) {
    const row = await pairs.rowOfKey(key);
    if (row < 0) return "This atlas has no such pair.";
    await pairs.loadTiles([row]);
    pair = pairs.at(row);
    return pair.failed ? "This pair failed, so it has no strip." : "";
  }

  const names = () => {
    const arrow = isthmus.element("span", { className: "arrow", textContent: "→" });
    return [isthmus.neuronName(pair.a), arrow, isthmus.neuronName(pair.b)];
  };

  function showFrame(frame, isScrubbed) {
    film.show(frameWindow, frame);
    if (isScrubbed) tell({ share: scrubber.share });
  }

  function words(frame) {
    return `frame ${frame + 1} of ${pair.frames}`;
  }

  // ---- the page around

  const tell = (words) => parent !== window && parent.postMessage({ isthmus: words }, "*"); // nothing in it is secret

  addEventListener("message", ({ source, data }) => {
    const share = data?.isthmus?.share;
    if (source !== parent || source === window || !pair || pair.failed) return;
    if (typeof share !== "number" || !(share >= 0 && share <= 1)) return;
    scrubber.play(false);
    scrubber.goToShare(share);
  });

  return { show, needs: () => [] };
})();
