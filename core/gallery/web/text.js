"use strict";

// Words, numbers and elements. Names and reasons are untrusted data: they enter the page only as text and attributes,
// never as HTML.
const isthmus = {};

isthmus.byId = (id) => document.getElementById(id);

// The size of text that the reader has chosen in the browser, in quarters of the usual one.
isthmus.TEXT = Math.ceil(parseFloat(getComputedStyle(document.documentElement).fontSize) / 4) / 4;

// Put its HTML into the element of a page; the scripts of the page run afterwards.
isthmus.html = (page, html) => (isthmus.byId(`${page}-page`).innerHTML = html);

// Scripts that are loaded later, by the names of their files, once they have run; and what they begin with.
isthmus.ran = {};
isthmus.need = (script) => {
  if (!isthmus.ran[script]) throw new Error(`${script}.js has not run`);
};

// Where to load a file from, and the error for one that could not be read. A browser may keep what it got of such a file,
// so the next attempt has another address.
isthmus.lost = new Set(); // paths
isthmus.source = (path) => (isthmus.lost.has(path) ? `${path}?${Date.now()}` : path);
isthmus.unread = (path) => isthmus.lost.add(path) && Object.assign(new Error(path), { path });

isthmus.element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

// The place of the reader's favourites in this browser, see favourites.js; each atlas has its own, by its name.
isthmus.FAVOURITES = `isthmus favourites ${document.body.dataset.name}`;

// Work with what this browser keeps. If it keeps nothing, as in private windows, the work is not done.
isthmus.stored = (work) => {
  try {
    return work();
  } catch {
    return null;
  }
};

// Create an element for untrusted text; its writing direction does not change the text around it.
isthmus.quoted = (text) => isthmus.element("bdi", { textContent: text });

isthmus.whole = new Intl.NumberFormat("en").format;

isthmus.counted = (number, noun) => `${isthmus.whole(number)} ${noun}${number === 1 ? "" : "s"}`;

isthmus.pairsIn = (number) => isthmus.counted(number, "pair");

// Write a number with three digits, in at most nine signs.
isthmus.short = (() => {
  const digits = new Intl.NumberFormat("en", { minimumSignificantDigits: 3, maximumSignificantDigits: 3 });
  return (value) => {
    if (value === null || value === undefined || Number.isNaN(value)) return "–";
    const size = Math.abs(value);
    return size !== 0 && (size < 1e-4 || size >= 1e6) ? value.toExponential(2) : digits.format(value);
  };
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

isthmus.UNEXCITED = "nothing that was rendered excites the neuron more than noise does";

// What is wrong with an end of a strip: a sign for small pictures, a word, and its meaning.
isthmus.MARKS = {
  dead: { sign: "∅", word: "not excited", meaning: isthmus.UNEXCITED },
  weak: {
    sign: "<½",
    word: "weak",
    meaning: "at its own end, the neuron keeps less than half of its strongest activation, or is not active at all",
  },
};

// Return what is wrong with an end of a pair's strip, "dead" or "weak", or an empty text.
isthmus.markOf = (pair, end) => ["dead", "weak"].find((mark) => pair[mark]?.includes(end)) ?? "";

isthmus.mark = (mark, textContent = isthmus.MARKS[mark].word) => {
  const { sign, meaning } = isthmus.MARKS[mark];
  const made = isthmus.element("span", { className: mark, textContent, title: meaning });
  Object.assign(made.dataset, { note: meaning, sign });
  return made;
};

// Create an element for a neuron's name and its first label. The end of a long layer name is cut off, the channel is
// always whole. `mark` is "dead" (or true) or "weak" for a neuron that is marked so.
isthmus.neuronName = (neuron, mark) => {
  const name = isthmus.byId("neuron").content.firstElementChild.cloneNode(true);
  name.querySelector(".layer").textContent = neuron.layer;
  name.querySelector(".channel").textContent = `:${neuron.channel}`;
  if (neuron.labels?.length) name.append(isthmus.element("bdi", { className: "label", textContent: neuron.labels[0] }));
  if (mark) name.append(" ", isthmus.mark(mark === true ? "dead" : mark));
  return name;
};

isthmus.neuronLink = (neuron, mark) => {
  const href = isthmus.address.to("neuron", neuron.name);
  return isthmus.element(
    "a",
    { href, className: "to-neuron", title: `All pairs of ${neuron.name}` },
    isthmus.neuronName(neuron, mark),
  );
};

// Paths as in core/atlas/records.py; a checkpoint's strip has its number of updates after the key.
isthmus.sheetPath = (key, step) => `sheets/${key.slice(0, 2)}/${key}${step ? `-${step}` : ""}.png`;
isthmus.previewPath = (key, step) => `previews/${key.slice(0, 2)}/${key}${step ? `-${step}` : ""}.webp`;

// Create an image. If its file is missing or damaged, words with its name take its place; `onMissing` is called instead,
// if given, with the image and the words.
isthmus.picture = (path, onMissing = (image, words) => image.replaceWith(words)) => {
  const image = isthmus.element("img", { alt: "", decoding: "async", draggable: false });
  image.missing = () => image.isConnected && onMissing(image, isthmus.failure("No picture", `at ${path}`));
  image.addEventListener("error", image.missing);
  image.src = path;
  return image;
};

isthmus.failure = (title, reason) =>
  isthmus.element(
    "span",
    { className: "failure", title: reason },
    isthmus.element("b", { textContent: title }),
    " ",
    isthmus.quoted(reason),
  );
