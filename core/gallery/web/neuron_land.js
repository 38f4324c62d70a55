"use strict";

// The part of a neuron's page about its place on the land: a picture of the place that leads there, and its numbers.
isthmus.neuronLand = (() => {
  const { address, byId, places } = isthmus;
  const SEEN = 1.5; // cells
  const canvas = byId("neuron-place");
  let tiles = null;
  let shown = null; // number of the neuron

  // Show the place of a neuron, given by its number on the land, or nothing if it has none.
  function show(number) {
    byId("neuron-land").hidden = number === undefined;
    shown = number;
    if (number === undefined) return;
    const { name } = places.neurons[number];
    byId("neuron-to-land").href = address.to("land", isthmus.joinNames([name]));
    byId("neuron-to-land").setAttribute("aria-label", `${name} on the land`);
    byId("neuron-numbers").replaceChildren(...facts(number));
    tiles ??= isthmus.tiles(places, { onLoad: draw, onMissing: draw });
    draw();
  }

  function draw() {
    const side = Math.round(canvas.clientWidth * devicePixelRatio);
    if (shown === undefined || side === 0) return;
    canvas.width = canvas.height = side;
    tiles.draw(canvas.getContext("2d"), { ...places.centre(shown), scale: side / (SEEN * places.cell_px) });
  }

  function facts(number) {
    const [row, column] = places.rowAndColumn(number);
    const beside = [
      [row, column - 1],
      [row, column + 1],
      [row - 1, column],
      [row + 1, column],
    ].map((place) => places.numberAt(...place));
    const neighbours = [...new Set(beside)].filter((other) => other !== number);
    const known = { activation: places.activation[number], noise: places.noise[number] };
    const share = places.compared[number];
    return [
      isthmus.fact("place", `row ${row + 1} of ${places.rows}, column ${column + 1} of ${places.columns}`),
      ...Object.entries(known)
        .filter(([, value]) => value !== null)
        .map(([term, value]) => isthmus.fact(term, isthmus.short(value), MEANINGS[term])),
      ...(share === null ? [] : [isthmus.fact("share of its reach", `${Math.round(share * 100)} %`, MEANINGS.share)]),
      ...(places.dead[number] ? [isthmus.fact("not excited", isthmus.UNEXCITED)] : []),
      neighboursOf(neighbours),
    ];
  }

  const MEANINGS = {
    activation: "mean activation over the middle of the neuron's place",
    noise: "the largest mean activation on images of noise",
    share: "activation as a share of the greatest that the neuron's portrait or the end of its strip has",
  };

  function neighboursOf(numbers) {
    const fact = isthmus.fact("beside it", "");
    const links = numbers.flatMap((number, i) => {
      const { name, channel } = places.neurons[number];
      const link = isthmus.element("a", { href: address.to("neuron", name), title: name, textContent: `:${channel}` });
      return i ? [", ", link] : [link];
    });
    fact.querySelector("dd").append(...links);
    return fact;
  }

  return { show };
})();
