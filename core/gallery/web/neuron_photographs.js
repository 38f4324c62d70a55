"use strict";

// The part of a neuron's page about photographs: those that excite it most, with the part that does, some from the middle
// for comparison, and the classes that excite it most.
isthmus.neuronPhotographs = (() => {
  const { address, byId, element, pairs, photographs } = isthmus;
  const WHOLE = 0.7; // a part that covers more of the photograph is not shown once more by itself

  // Show what photographs say of a neuron, if anything; `isShown` says whether the reader is still there when it has been
  // loaded.
  async function show(neuron, isShown) {
    const summary = await photographs.ofNeuron(neuron);
    if (!isShown()) return;
    const place = byId("neuron-photographs");
    place.hidden = !summary;
    if (!summary) return;
    const { published } = photographs.album;
    place.replaceChildren(
      element("h3", { textContent: "Photographs" }),
      numbers(summary),
      ...(summary.classes.length ? classes(summary.classes) : []),
      ...(published ? strongest(summary) : []),
      ...(published ? middle(summary) : []),
      photographs.source(),
    );
  }

  function numbers({ mean, deviation, highest, active, sparsity, strongest: [first] }) {
    const facts = {
      "strongest place": [first?.peak, "the largest activation at one place of a photograph"],
      "strongest mean": [highest, "the largest mean activation over all places of a photograph; ends of strips are compared with it"],
      mean: [mean, "mean activation, over all places and photographs"],
      deviation: [deviation, "standard deviation over photographs of the mean activation"],
      active: [active, "share of the photographs with a place whose activation is above 0"],
      sparsity: [sparsity, "0: all photographs excite the neuron equally; 1: a single one does (Vinje and Gallant, 2000)"],
    };
    const told = Object.entries(facts).filter(([, [value]]) => value !== null && value !== undefined);
    const spans = told.map(([term, [value, title]]) =>
      element("span", { title }, `${term} `, element("b", { textContent: term === "active" ? photographs.percent(value) : isthmus.short(value) })),
    );
    return element("p", { className: "photograph-numbers" }, ...spans);
  }

  function strongest({ strongest: list }) {
    const figures = list.map((shown) => {
      const whole = element("span", { className: "whole" }, photographs.picture(shown));
      const [top, left, bottom, right] = shown.box;
      const isPart = (bottom - top) * (right - left) < WHOLE * 1e6; // in thousandths of the sides
      if (isPart) {
        const mark = element("span", { className: "part" });
        const sides = { top, left, width: right - left, height: bottom - top };
        for (const [name, length] of Object.entries(sides)) mark.style[name] = `${length / 10}%`;
        whole.append(mark);
      }
      return figure(shown, whole, ...(isPart && shown.crop ? [photographs.picture(shown, shown.crop)] : []));
    });
    const words = "The frame marks the part of the photograph that reaches the place with the largest activation; it is shown beside it.";
    return [
      element("p", { className: "faint", textContent: `The strongest ${list.length}, by the largest activation at one place. ${words}` }),
      element("div", { className: "photographs" }, ...figures),
    ];
  }

  function middle({ middle: list }) {
    if (list.length === 0) return [];
    return [
      element("h4", { textContent: "From the middle" }),
      element("p", { className: "faint", textContent: "Photographs drawn at random from those that excite the neuron neither much nor little." }),
      element("div", { className: "photographs" }, ...list.map((shown) => figure(shown, photographs.picture(shown)))),
    ];
  }

  function figure(shown, ...pictures) {
    const caption = element("figcaption", {}, element("b", { textContent: isthmus.short(shown.peak) }));
    const words = photographs.words(shown);
    if (words) caption.append(" ", isthmus.quoted(words));
    return element("figure", { title: words }, element("div", {}, ...pictures), caption);
  }

  function classes(list) {
    const items = list.map(([number, count, strength]) => {
      const name = photographs.album.classes[number];
      const quoted = isthmus.quoted(name);
      const link = pairs.count ? element("a", { href: address.toGrid({ text: name.toLowerCase() }) }, quoted) : quoted;
      const size = Math.abs(strength).toFixed(1);
      const sign = strength < 0 && Number(size) > 0 ? "−" : "+";
      return element("li", { title: isthmus.counted(count, "photograph") }, link, ` ${sign}${size}`);
    });
    const leads = pairs.count ? "; a class leads to the pairs of the neurons that it excites most" : "";
    const textContent = `The strongest classes, in deviations from the mean of all photographs${leads}.`;
    return [element("p", { className: "faint", textContent }), element("ul", { className: "classes" }, ...items)];
  }

  return { show };
})();
