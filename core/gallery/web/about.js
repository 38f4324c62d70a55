"use strict";

// What the page about the atlas takes from the data: what kind of strips it has, what scores mean, and why pairs have
// failed.
isthmus.about = (() => {
  const { byId, element, pairs } = isthmus;
  const LISTED = 50; // failed pairs

  function show() {
    if (byId("scores").children.length === 0) fill();
    return "About";
  }

  function kind() {
    const walks = pairs.columns.walk.reduce((sum, one) => sum + one, 0);
    if (walks === 0) return "Each strip has ends of its own, made for its pair.";
    const which =
      walks === pairs.count
        ? "Every strip begins and ends"
        : `${isthmus.whole(walks)} of ${isthmus.pairsIn(pairs.count)} have strips that begin and end`;
    return `${which} on portraits, of which each neuron has one: the strips meet there, and one can walk from neuron to neuron.`;
  }

  function fill() {
    byId("kind").textContent = kind();
    byId("scores").append(
      ...Object.values(pairs.SCORES).map(({ label, meaning }) => isthmus.fact(label.toLowerCase(), meaning)),
    );
    if (pairs.reasons.size === 0) return;
    const listed = [...pairs.reasons].slice(0, LISTED).map(([row, reason]) => {
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
      element("p", {}, all, listed.length < pairs.reasons.size ? `; the first ${LISTED} of them:` : ":"),
      element("ul", {}, ...listed),
    );
  }

  return { show };
})();
