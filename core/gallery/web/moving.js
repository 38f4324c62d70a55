"use strict";

// Moving from tile to tile by keys. Tab reaches one tile at a time.
(() => {
  const { byId, grid } = isthmus;
  const element = byId("grid");

  element.addEventListener("keydown", (event) => {
    const made = event.target.closest(".tile");
    if (!made) return;
    const place = Number(made.dataset.place);
    const { columns, height } = grid.layout();
    const { length } = grid.rows();
    const screen = Math.max(1, Math.floor(innerHeight / height) - 1) * columns;
    const key = `${event.ctrlKey || event.metaKey ? "Ctrl+" : ""}${event.shiftKey ? "Shift+" : ""}${event.key}`;
    const target = {
      ArrowUp: place - columns,
      ArrowDown: place + columns,
      "Shift+ArrowLeft": place - 1,
      "Shift+ArrowRight": place + 1,
      PageUp: place - screen,
      PageDown: place + screen,
      "Ctrl+Home": 0,
      "Ctrl+End": length - 1,
    }[key];
    if (target === undefined) return;
    event.preventDefault();
    if (key.startsWith("Arrow") && (target < 0 || target >= length)) return;
    grid.focus(target);
  });
  element.addEventListener("focusin", (event) => {
    const made = event.target.closest(".tile");
    if (made) grid.makeCurrent(Number(made.dataset.place));
  });
  // If the tile that Tab would reach is far off the screen, let Tab reach the first tile on the screen.
  addEventListener("keydown", (event) => {
    if (event.key !== "Tab" || !element.clientWidth || grid.isCurrentThere()) return;
    const { columns, height } = grid.layout();
    grid.makeCurrent(Math.max(0, Math.ceil(grid.position() / height)) * columns);
  });
})();
