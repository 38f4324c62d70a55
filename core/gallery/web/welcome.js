"use strict";

// What greets a reader above the strips: what the atlas is and how to read it, with an example. It stays folded if the
// reader folds it.
isthmus.welcome = (() => {
  const { byId, pairs } = isthmus;
  const PLACE = "isthmus welcome";
  const welcome = byId("welcome");

  // Show the first strip that is finished, short and strong at both ends, of those that come with the page.
  function show() {
    if (!byId("example").hidden) return;
    for (let row = 0; row < pairs.index.first; row++) {
      const pair = pairs.at(row);
      if (pair.failed || pair.frames > 10 || isthmus.markOf(pair, "a") || isthmus.markOf(pair, "b")) continue;
      const image = isthmus.picture(isthmus.previewPath(pair.key), () => (byId("example").hidden = true));
      image.alt = `The frames of ${pair.name}`;
      byId("example").prepend(image);
      byId("example").hidden = false;
      return;
    }
  }
  welcome.addEventListener("toggle", () =>
    isthmus.stored(() => localStorage.setItem(PLACE, welcome.open ? "open" : "folded")),
  );
  byId("skip").addEventListener("click", () => isthmus.grid.enter());
  welcome.open = isthmus.stored(() => localStorage.getItem(PLACE)) !== "folded";

  return { show };
})();
