"use strict";

// Neurons as readers write them, in addresses and in fields, and what marks them.
isthmus.names = (() => {
  const { element, pairs } = isthmus;
  const SUGGESTED = 20; // neurons in the list of a field
  const MOST_PARTS = 16; // of a name, separated by two points
  const UNKNOWN = 255; // in the column `marks`

  // Write neurons as `mixed4a:476..12..mixed4b:3`: a neuron in the layer of the one before it is its channel only.
  const write = (along) =>
    isthmus.joinNames(along.map(({ layer, channel, name }, i) => (layer === along[i - 1]?.layer ? channel : name)));

  // Return the texts that two points separate. Two points within a name that is known do not separate it, whether
  // `write` has escaped them or a reader has typed them.
  function split(text, isKnown = (name) => pairs.neuronByName.has(name)) {
    const parts = text.split("..");
    const names = [];
    for (let start = 0, end; start < parts.length; start = end) {
      for (end = Math.min(parts.length, start + MOST_PARTS); end > start; end--) {
        const typed = parts.slice(start, end).join("..");
        const decoded = typed.replaceAll("%2E", ".").replaceAll("%25", "%");
        const known = [decoded, typed].find(isKnown);
        if (known === undefined && end > start + 1) continue;
        names.push(known ?? decoded);
        break;
      }
    }
    return names.filter(Boolean);
  }

  // Return what texts name, as { written, found }: the neurons that pass a test. A channel alone repeats the layer of
  // the neuron before it. Without one before, it is any neuron with this channel; a label is any neuron that has it.
  function read(texts, passes) {
    const read = [];
    for (const text of texts) {
      const before = read.at(-1)?.written ?? "";
      const layer = before.slice(0, Math.max(0, before.lastIndexOf(":")));
      const written = layer && /^\d+$/.test(text) ? `${layer}:${text}` : text;
      const found = find(written, passes);
      read.push({ written: found.length === 1 ? found[0].name : written, found });
    }
    return read;
  }

  function find(written, passes) {
    const named = pairs.neuronByName.get(written);
    if (named) return [named].filter(passes);
    const channel = /^:?\d{1,15}$/.test(written) ? Number(written.replace(":", "")) : null;
    const text = written.toLowerCase();
    const isMeant = (neuron) =>
      channel === null ? neuron.labels.some((label) => label.toLowerCase() === text) : neuron.channel === channel;
    return pairs.neurons.filter((neuron) => isMeant(neuron) && passes(neuron));
  }

  // Return what is missing in a text that names a layer alone, in words with an example that passes a test, or null.
  function withoutChannel(written, passes = () => true) {
    const layer = written.trim().replace(/:$/, "");
    const known = [...pairs.neurons, ...(isthmus.places?.neurons ?? [])];
    const example = known.find((one) => [one.layer, isthmus.writtenLayer(one.layer)].includes(layer) && passes(one));
    if (!example) return null;
    return [isthmus.quoted(layer), " is a layer: a channel is missing, as in ", isthmus.inWords(example), "."];
  }

  // Let a field suggest neurons that pass a test, by their names and labels.
  function suggest(field, passes) {
    const update = () => {
      const typed = field.value.trim().toLowerCase();
      const found = [];
      for (const neuron of pairs.neurons) {
        if (neuron.lower.includes(typed) && passes(neuron)) found.push(neuron);
        if (found.length === SUGGESTED) break;
      }
      field.list.replaceChildren(
        ...found.map(({ name, labels }) => element("option", { value: name, label: labels.join(", ") })),
      );
    };
    for (const event of ["focus", "input"]) field.addEventListener(event, update);
  }

  // ---- marks: "dead", "weak" or an empty text

  // Return the mark of a neuron in a pair.
  function markIn(row, neuron) {
    const end = pairs.columns.a[row] === neuron.id ? "a" : "b";
    return pairs.isDead(row, end) ? "dead" : pairs.isWeak(row, end) ? "weak" : "";
  }

  // Return how often a neuron has each mark in rows of which that is known, and the mark that it has in all of them: it
  // is weak if it is weak in some and dead in the others.
  function marksIn(rows, neuron) {
    const known = [...rows].filter((row) => pairs.columns.marks[row] !== UNKNOWN);
    const marks = known.map((row) => markIn(row, neuron));
    const [dead, weak] = ["dead", "weak"].map((wanted) => marks.filter((mark) => mark === wanted).length);
    const everywhere = known.length === 0 || dead + weak < known.length ? "" : weak ? "weak" : "dead";
    return { known: known.length, dead, weak, everywhere };
  }

  return { write, split, read, find, withoutChannel, suggest, markIn, marksIn };
})();
