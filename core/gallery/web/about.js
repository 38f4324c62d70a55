"use strict";

// The parts of the page about the atlas that scripts fill in: the kind of its strips, the meanings of scores and
// settings, and the reasons of failed pairs.
isthmus.about = (() => {
  const { byId, element, pairs } = isthmus;
  const LISTED = 50; // failed pairs
  const SETTINGS = {
    alignment:
      "Keeps landmarks in place from frame to frame: frames are penalised for differing in the activations of these layers. scale: the unit of the differences. relative: the variation of each layer within a frame, and the penalty counts against the activation that the two neurons gain. lucid: activations as they are. weight: strength of the penalty. decay: two frames that are d places apart are compared with weight 1 / decay^d.",
    checkpoints: "Numbers of updates after which the strip was stored too.",
    frames: "Images in a strip, the two ends included.",
    key_frames:
      "Key frames are two low-resolution images that all frames share: each frame takes a mix of both. symmetric: they lie at the ends of the strip. lucid: they lie where the Lucid library puts them.",
    learning_rate: "Learning rate of the Adam optimizer.",
    mix: "How much each of the two neurons counts in each frame. balanced: by what each gains over noise, and the frames move until they are equally far apart in the alignment layers. lucid: activations as they are, shares in equal steps.",
    objective:
      "How activations count. cosine_power: with a power p above 0, the activation at each position counts by max(0.1, cosine)^p, with the cosine of the angle between the activations of all channels and the mix of the two neurons. Without it, only the activation counts.",
    precision: "Number format of the network's arithmetic. The image is float32 always.",
    redirected_updates:
      "A ReLU that is off passes no gradient, so an inactive neuron would never be excited. For this number of updates, the gradient is redirected through ReLUs that are off.",
    schedule:
      "The order of the work. fast: first the two ends of a strip, then the frames between them. plain: as in the Lucid library, all frames at once.",
    sd: "Standard deviation of the random numbers that the images start from.",
    seed: "Seed of the random numbers. Another seed gives other images of the same pairs.",
    sharing: "Whether frames share low-resolution parts. If not, each frame is an image of its own.",
    size_px: "Height and width of a frame, in pixels.",
    steps: "Updates of the images. With schedule fast, the frames between two ends get five eighths of them.",
    transforms:
      "standard: each update sees the images shifted, scaled and rotated at random, so that they excite the neurons in any such view. none: each update sees them as they are.",
    xla: "Whether XLA compiled the network on a GPU.",
  };

  // What is no setting, but makes other pictures too.
  const FURTHER = {
    method:
      "Version of the method by which Isthmus optimises strips. Another version gives other images of the same pairs.",
    weights: "Digest of the model's weights, its first digits. Other weights make other neurons of the same names.",
  };

  function show() {
    if (byId("scores").children.length === 0) fill();
    return "About";
  }

  function fill() {
    byId("kind").textContent = kind();
    byId("scores").append(
      ...Object.values(pairs.SCORES).map(({ label, meaning, sign }) => term(label.toLowerCase(), meaning, sign)),
      ...(pairs.absent.has("ends") ? [] : Object.values(isthmus.MARKS).map(({ word, meaning }) => term(word, meaning))),
    );
    for (const term of document.querySelectorAll("#about-page .settings dt")) {
      const name = term.textContent;
      if (Object.hasOwn(SETTINGS, name)) term.parentElement.append(explanation(SETTINGS[name]));
    }
    if (pairs.index.weights) showWeights(pairs.index.weights);
    if (pairs.settings.length > 1) showDifferences();
    if (pairs.reasons.size) showFailures();
    for (const button of document.querySelectorAll("#about-page [data-copies]")) {
      const { copies, what } = button.dataset;
      button.addEventListener("click", () => isthmus.copy(byId(copies).textContent, button.nextElementSibling, what));
    }
  }

  const term = (name, meaning, sign = "") =>
    element(
      "div",
      {},
      element("dt", { textContent: sign ? `${name} (${sign})` : name }),
      element("dd", { textContent: meaning[0].toUpperCase() + meaning.slice(1) }),
    );

  const explanation = (textContent) => element("dd", { className: "meaning", textContent });

  // Show each digest of weights with the number of its pairs; `digests` has that of each setting.
  function showWeights(digests) {
    const numbers = new Map();
    for (const setting of pairs.columns.setting) numbers.set(digests[setting], (numbers.get(digests[setting]) ?? 0) + 1);
    const words = [...numbers].map(([digest, number]) => `${digest} (${isthmus.pairsIn(number)})`);
    byId("weights").textContent = words.join(", ");
  }

  // Say first in what the settings of the pairs differ, and what these settings mean.
  function showDifferences() {
    const lists = [...document.querySelectorAll("#about-page .settings")];
    const valueOf = (list, name) =>
      [...list.children].find((one) => one.firstElementChild.textContent === name)?.children[1].textContent;
    const differing = Object.keys(SETTINGS).filter((name) => new Set(lists.map((list) => valueOf(list, name))).size > 1);
    const told = pairs.differences[0].split(", ").map((words) => words.split(" ")[0]);
    const meanings = Object.fromEntries(differing.map((name) => [name, SETTINGS[name]]));
    const further = Object.keys(FURTHER).filter((name) => told.includes(name));
    for (const name of further) meanings[name] = FURTHER[name];
    const also = further.length ? `Pairs that differ in ${further.join(" or ")} alone count as different settings. ` : "";
    const rows = pairs.settings.map((digest, place) => {
      const link = element("a", {
        href: isthmus.address.toGrid({ setting: digest }),
        textContent: digest.slice(0, 12),
        title: "Show the strips with these settings",
      });
      return element("div", {}, element("dt", {}, link), element("dd", { textContent: pairs.differences[place] || "nothing that was recorded" }));
    });
    byId("differences").hidden = false;
    byId("differences").replaceChildren(
      element("h3", { textContent: "What differs between the settings" }),
      element("p", { textContent: `The pairs have ${rows.length} settings, each with a digest. ${also}They differ in:` }),
      element("dl", {}, ...rows),
      element("dl", { className: "meanings" }, ...Object.entries(meanings).map(([name, meaning]) => term(name, meaning))),
    );
  }

  function kind() {
    const walks = pairs.columns.walk.reduce((sum, one) => sum + one, 0);
    if (walks === 0) return "Each strip has ends of its own, made for its pair.";
    const which =
      walks === pairs.count
        ? "Every strip begins and ends on portraits"
        : `${isthmus.whole(walks)} of ${isthmus.pairsIn(pairs.count)} ${walks === 1 ? "has a strip that begins and ends" : "have strips that begin and end"} on portraits`;
    return (
      `${which}. A neuron has one portrait, an image that excites it. Strips meet at portraits, so a reader can walk ` +
      "from neuron to neuron: a strip between two portraits is a road, and a path of roads is a route. All portraits " +
      "have one canvas in common, a picture that they begin from, which keeps landmarks at the same places in each."
    );
  }

  async function showFailures() {
    const rows = [...pairs.reasons].slice(0, LISTED);
    await pairs.load(["key"], rows.map(([row]) => row)).catch(isthmus.address.lost);
    const listed = rows.map(([row, reason]) => {
      const pair = pairs.at(row);
      const link = element(
        "a",
        { href: `#pair=${pair.key}` },
        isthmus.inWords(pair.a),
        " to ",
        isthmus.inWords(pair.b),
      );
      return element("li", {}, link, ": ", isthmus.quoted(reason));
    });
    const all = element("a", {
      href: isthmus.address.toGrid({ status: "failed" }),
      textContent: `${isthmus.whole(pairs.reasons.size)} failed`,
    });
    byId("failures").replaceChildren(
      element("p", {}, all, listed.length < pairs.reasons.size ? `; the first ${LISTED} are:` : ":"),
      element("ul", {}, ...listed),
    );
  }

  return { show };
})();
