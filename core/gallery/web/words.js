"use strict";

// Words and elements that the first screen of strips does without.

// Create an element of an SVG picture.
isthmus.drawing = (tag, attributes, ...children) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
};

// Join names of neurons for an address; two points within a name do not separate it from the next.
isthmus.joinNames = (names) =>
  names.map((name) => String(name).replaceAll("%", "%25").replaceAll("..", "%2E%2E")).join("..");

// Create an element for a neuron's name in a line of text.
isthmus.inWords = (neuron) => isthmus.element("span", {}, isthmus.quoted(neuron.layer), `:${neuron.channel}`);

// Create a link to the walk that begins at a neuron. `setting` is the digest that the walk keeps to, if there are
// several.
isthmus.walkLink = (neuron, setting) => {
  const { address, grid, pairs } = isthmus;
  const chosen = setting === undefined || pairs.settings.length < 2 ? grid.chosen() : { ...grid.chosen(), setting };
  const link = isthmus.element("a", {
    href: address.to("walk", isthmus.joinNames([neuron.name]), String(new URLSearchParams(chosen))),
    textContent: "Walk from here",
  });
  link.setAttribute("aria-label", `Walk from here, ${neuron.name}`);
  return link;
};

isthmus.fact = (term, value, title = "") =>
  isthmus.element(
    "div",
    { title },
    isthmus.element("dt", { textContent: term }),
    isthmus.element("dd", { textContent: value }),
  );

// Return the path of the picture to show of a whole strip: the sheet, unless Firefox cannot show a picture that wide.
isthmus.stripPath = (pair, step) =>
  (pair.frames * pair.size_px > 32767 ? isthmus.previewPath : isthmus.sheetPath)(pair.key, step);

// Create an image of one frame of a strip: the strip fills the height, its position selects the part that is seen.
isthmus.frameOf = (path, pair, frame, alt, onMissing) => {
  const image = Object.assign(isthmus.picture(path, onMissing), { alt });
  image.style.objectPosition = `${pair.frames > 1 ? (frame / (pair.frames - 1)) * 100 : 0}% 0`;
  return image;
};

// Create an option for each score, named by its label or by its sort order: `text` is "label" or "order".
isthmus.scoreOptions = (text) =>
  Object.entries(isthmus.pairs.SCORES).map(([value, score]) =>
    isthmus.element("option", { value, textContent: score[text], title: score.meaning }),
  );

// Explanations where terms stand: a click, a tap or Enter on whatever has `data-note`, an explanation or the name of
// one, shows it below until the next.
isthmus.term = (textContent, meaning) => {
  const made = isthmus.element("button", { type: "button", className: "term", textContent });
  made.dataset.note = meaning;
  return made;
};

(() => {
  const note = isthmus.element("p", { id: "note", role: "status", hidden: true });
  let of = null; // what is explained
  const NOTES = {
    neuron:
      "A neuron is a channel of a layer of the network, written layer:channel. Its activation is the mean over the image.",
    alignment:
      "Frames are penalised for differing in some layers of the network, the alignment layers, so that what is at a place of one frame is at the same place of the next.",
    activation:
      "How strongly an image excites a neuron, in the units of the network. On the left that of a on the first frame, on the right that of b on the last.",
    change:
      "Mean squared difference of neighbouring frames, with values from 0 to 1. The smaller, the smoother the strip. If the strips are sorted by another score, that score stands here.",
  };

  function show(next) {
    of?.removeAttribute("aria-describedby");
    of = next === of ? null : next;
    note.hidden = !of;
    if (!of) return;
    note.textContent = NOTES[of.dataset.note] ?? of.dataset.note;
    of.setAttribute("aria-describedby", "note");
    const { left, bottom } = of.getBoundingClientRect();
    note.style.left = `${Math.max(8, Math.min(left, document.body.clientWidth - note.offsetWidth - 8))}px`;
    note.style.top = `${bottom + scrollY + 4}px`;
  }
  document.body.append(note);
  addEventListener("click", (event) => {
    if (event.target === note) return;
    const next = event.target.closest("[data-note]");
    if (next) event.preventDefault(); // a mark within a link
    show(next);
  });
  addEventListener("hashchange", () => show(null));
  addEventListener(
    "keydown",
    (event) => {
      if (event.key !== "Escape" || !of) return;
      show(null);
      event.stopImmediatePropagation(); // Escape closes the note and nothing else
    },
    { capture: true },
  );
})();
