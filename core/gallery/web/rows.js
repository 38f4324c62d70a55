"use strict";

// A virtual list: rows of equal height, of which only those near the screen exist. A browser cannot draw an element
// that is higher than about 17 million px, so the element of a very long list is shorter than the list. A small step of
// the scrollbar moves the list by the same number of pixels; a jump moves the list by the same share of its height. 150
// ms after the last step, the scrollbar is moved to match the list.
isthmus.rows = (container, makeRow) => {
  const LONGEST = 8e6; // px
  const rows = new Map(); // number -> element
  let count = 0;
  let height = 1; // px, a row with the gap below it
  let shift = 0; // px by which the list is ahead of the scrollbar
  let last = 0; // px scrolled at the last update
  let waiting = false; // for the next animation frame
  let resting = 0; // timer

  const length = () => Math.min(count * height, LONGEST);
  const ratio = () => (count * height - innerHeight) / (length() - innerHeight);
  const scrolled = () => -container.getBoundingClientRect().top;
  const shortened = () => count * height > LONGEST;

  function set(newCount, newHeight) {
    [count, height] = [newCount, newHeight];
    container.style.height = `${length()}px`;
    container.replaceChildren();
    rows.clear();
    follow(scrolled(), true);
    draw();
  }

  // Update the shift after the scrollbar has moved to y, px.
  function follow(y, jumped = Math.abs(y - last) > innerHeight) {
    last = y;
    if (!shortened() || y <= 0) shift = 0;
    else if (jumped) shift = y * ratio() - y;
    else shift = Math.min(Math.max(shift, -y), count * height - innerHeight - y);
  }

  function draw() {
    waiting = false;
    if (container.offsetParent === null) return;
    const before = shift;
    const y = scrolled();
    follow(y);
    const ahead = Math.max(height, innerHeight / 2);
    const first = Math.max(0, Math.floor((y + shift - ahead) / height));
    const end = Math.min(count, Math.ceil((y + shift + innerHeight + ahead) / height));
    for (const [number, row] of rows) {
      if ((number < first || number >= end) && !row.contains(document.activeElement)) {
        row.remove();
        rows.delete(number);
      }
    }
    if (shift !== before) placeAll();
    for (let number = end - 1; number >= first; number--) if (!rows.has(number)) add(number);
    if (shortened()) {
      clearTimeout(resting);
      resting = setTimeout(reconcile, 150);
    }
  }

  // Return the numbers of the rows that were made without all of their data, which `makeRow` marks as waiting.
  const waitingRows = () => [...rows.keys()].filter((number) => "waiting" in rows.get(number).dataset);

  // Make the waiting rows again that are ready.
  function redo(isReady) {
    for (const number of waitingRows().filter(isReady)) {
      rows.get(number).remove();
      rows.delete(number);
    }
    draw();
  }

  function add(number) {
    const row = makeRow(number);
    place(row, number);
    rows.set(number, row);
    row.dataset.row = number;
    const next = rows.get(number + 1) ?? [...container.children].find((other) => Number(other.dataset.row) > number);
    container.insertBefore(row, next ?? null);
  }

  const place = (row, number) => (row.style.transform = `translateY(${number * height - shift}px)`);

  const placeAll = () => rows.forEach(place);

  function reconcile() {
    const y = scrolled();
    if (y <= 0 || container.offsetParent === null) return;
    moveTo(y + shift);
  }

  // Scroll the list to a position, px from its start, so that it is at the upper edge of the screen.
  function moveTo(position) {
    const stretched = shortened() && position > 0;
    const y = stretched ? Math.round(position / ratio()) : position;
    const moved = y - scrolled();
    if (Math.abs(moved) >= 1) scrollBy({ top: moved, behavior: "instant" });
    last = scrolled();
    const before = shift;
    shift = stretched ? position - last : 0;
    if (shift !== before) placeAll();
    draw();
  }

  // Scroll as little as needed to show a whole row, and return its element.
  function reveal(number) {
    const cover = isthmus.cover();
    const top = number * height - cover;
    const position = scrolled() + shift;
    if (top < position) moveTo(top);
    else if ((number + 1) * height > position + innerHeight) moveTo((number + 1) * height - innerHeight);
    else draw();
    return rows.get(number);
  }

  const soon = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(draw);
  };
  addEventListener("scroll", soon, { passive: true });
  addEventListener("resize", soon);

  return { set, redo, waitingRows, reveal, moveTo, position: () => scrolled() + shift, row: (number) => rows.get(number) };
};

// Return the height, px, of what stays at the upper edge of the screen and covers the page.
isthmus.cover = () => {
  const fixed = [...document.querySelectorAll("#bar, .page.shown > .tools")].filter(
    (one) => getComputedStyle(one).position === "sticky",
  );
  return fixed.reduce((sum, one) => sum + one.offsetHeight, 0) + 8;
};
