"use strict";

// What greets a reader above the strips: what the atlas is and how to read it, with an example. It stays folded if the
// reader folds it.
isthmus.welcome = (() => {
  const { byId, pairs } = isthmus;
  const PLACE = "isthmus welcome";
  const welcome = byId("welcome");

  // Show the first strip that is finished, short and strong at both ends, of those that come with the page; if there is
  // one, of three frames or more, because no frame of a shorter one excites both neurons.
  function show() {
    if (!byId("example").hidden) return;
    const first = Array.from({ length: pairs.index.first }, (_, row) => pairs.at(row)).filter(isExample);
    const pair = first.find(({ frames }) => frames > 2) ?? first[0];
    if (!pair) return;
    const image = isthmus.picture(isthmus.previewPath(pair.key), () => (byId("example").hidden = true));
    image.alt = `The frames of ${pair.name}`;
    byId("both").hidden = pair.frames < 3;
    byId("example").prepend(image);
    byId("example").hidden = false;
  }

  const isExample = (pair) => !pair.failed && pair.frames <= 10 && !["a", "b"].some((end) => isthmus.markOf(pair, end));

  welcome.addEventListener("toggle", () =>
    isthmus.stored(() => localStorage.setItem(PLACE, welcome.open ? "open" : "folded")),
  );
  byId("skip").addEventListener("click", () => isthmus.grid.enter());
  welcome.open = isthmus.stored(() => localStorage.getItem(PLACE)) !== "folded";

  return { show };
})();
