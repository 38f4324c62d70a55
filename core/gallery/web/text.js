"use strict";

// Words, numbers and elements. Names and reasons are untrusted data: they enter the page only as text and attributes,
// never as HTML.
const isthmus = {};

isthmus.byId = (id) => document.getElementById(id);

// Put its HTML into the element of a page; the scripts of the page run afterwards.
isthmus.html = (page, html) => (isthmus.byId(`${page}-page`).innerHTML = html);

isthmus.element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

// Create an element of an SVG picture.
isthmus.drawing = (tag, attributes, ...children) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
};

// Create an element for untrusted text; its writing direction does not change the text around it.
isthmus.quoted = (text) => isthmus.element("bdi", { textContent: text });

isthmus.whole = new Intl.NumberFormat("en").format;

isthmus.pairsIn = (number) => `${isthmus.whole(number)} ${number === 1 ? "pair" : "pairs"}`;

isthmus.short = (() => {
  const digits = new Intl.NumberFormat("en", { minimumSignificantDigits: 3, maximumSignificantDigits: 3 });
  return (value) => (value === null || value === undefined || Number.isNaN(value) ? "–" : digits.format(value));
})();

// Write a layer as core/neurons.py does: its name, or a JSON string in ASCII if the name would be misread.
isthmus.writtenLayer = (() => {
  const sign = "[^\\s\\x00-\\x1f\\x7f-\\x9f\\ufeff\\ud800-\\udfff]";
  const bare = new RegExp(`^${sign}(?: *${sign})*$`, "u");
  const inQuotes = /^"(?:[^"\\]|\\.)*"$/su;
  const escaped = (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return (layer) =>
    bare.test(layer) && !inQuotes.test(layer) ? layer : JSON.stringify(layer).replace(/[^\x20-\x7e]/g, escaped);
})();

// Join names of neurons for an address; two points within a name do not separate it from the next.
isthmus.joinNames = (names) =>
  names.map((name) => String(name).replaceAll("%", "%25").replaceAll("..", "%2E%2E")).join("..");

// Create an element for a neuron's name. The end of a long layer name is cut off, the channel is always whole.
// A neuron that is dead is marked.
isthmus.neuronName = (neuron, isDead = false) => {
  const name = isthmus.byId("neuron").content.firstElementChild.cloneNode(true);
  name.querySelector(".layer").textContent = neuron.layer;
  name.querySelector(".channel").textContent = `:${neuron.channel}`;
  if (isDead) name.append(" ", isthmus.deadMark());
  return name;
};

isthmus.UNEXCITED = "nothing that was rendered excites the neuron more than noise does";

isthmus.deadMark = (textContent = "not excited") =>
  isthmus.element("span", { className: "dead", textContent, title: isthmus.UNEXCITED });

// Create an element for a neuron's name in a line of text.
isthmus.inWords = (neuron) => isthmus.element("span", {}, isthmus.quoted(neuron.layer), `:${neuron.channel}`);

isthmus.neuronLink = (neuron, isDead) => {
  const href = isthmus.address.to("neuron", neuron.name);
  return isthmus.element(
    "a",
    { href, className: "to-neuron", title: `All pairs of ${neuron.name}` },
    isthmus.neuronName(neuron, isDead),
  );
};

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

// Paths as in core/atlas/records.py; a checkpoint's strip has its number of updates after the key.
isthmus.sheetPath = (key, step) => `sheets/${key.slice(0, 2)}/${key}${step ? `-${step}` : ""}.png`;
isthmus.previewPath = (key, step) => `previews/${key.slice(0, 2)}/${key}${step ? `-${step}` : ""}.webp`;

// Return the path of the picture to show of a whole strip: the sheet, unless Firefox cannot show a picture that wide.
isthmus.stripPath = (pair, step) =>
  (pair.frames * pair.size_px > 32767 ? isthmus.previewPath : isthmus.sheetPath)(pair.key, step);

// Create an image of one frame of a strip: the strip fills the height, its position selects the part that is seen.
isthmus.frameOf = (path, pair, frame, alt) => {
  const image = isthmus.element("img", { src: path, alt, decoding: "async", draggable: false });
  image.style.objectPosition = `${pair.frames > 1 ? (frame / (pair.frames - 1)) * 100 : 0}% 0`;
  return image;
};

// Create an option for each score, named by its label or by its sort order: `text` is "label" or "order".
isthmus.scoreOptions = (text) =>
  Object.entries(isthmus.pairs.SCORES).map(([value, score]) =>
    isthmus.element("option", { value, textContent: score[text], title: score.meaning }),
  );

isthmus.failure = (title, reason) =>
  isthmus.element(
    "span",
    { className: "failure", title: reason },
    isthmus.element("b", { textContent: title }),
    " ",
    isthmus.quoted(reason),
  );
