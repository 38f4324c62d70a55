"use strict";

// What the numbers of a strip mean, in sentences: how far each end is kept, where the curves cross, how even the pace is.
isthmus.summary = (() => {
  const ENDS = ["a", "b"];
  const WEAK = 0.5; // share of its reach below which a kept end is weak
  const IN_THE_MIDDLE = 0.1; // largest distance of a crossing from the middle
  const EVEN = 1.5; // largest step divided by the smallest
  const FAIRLY_EVEN = 3;

  const isMeasured = ({ reach_a, noise_a }) => reach_a !== null && noise_a !== null; // not by older versions
  const deadEnds = (record) =>
    isMeasured(record) ? ENDS.filter((end) => record[`reach_${end}`] <= record[`noise_${end}`]) : [];

  // Return the sentences about the record of a finished pair.
  function summary(record) {
    const dead = deadEnds(record);
    const alive = ENDS.filter((end) => !dead.includes(end));
    const sentences = [kept(record, alive), ...dead.map((end) => notExcited(record, end))];
    if (isMeasured(record)) sentences.push(crossing(record, dead), pace(record));
    else
      sentences.push(
        "An older version wrote this record: it lacks the activation on noise, the crossing and the pace.",
      );
    return sentences.filter(Boolean);
  }

  function notExcited(record, end) {
    const [reach, noise] = [record[`reach_${end}`], record[`noise_${end}`]].map(isthmus.short);
    return `${end} is not excited: its strongest activation on a frame is ${reach}, on noise ${noise}.`;
  }

  function kept(record, alive) {
    let meaning = " of its strongest activation at its own end"; // said once
    const parts = alive.map((end) => {
      const values = record[`activation_${end}`];
      const own = end === "a" ? values[0] : values.at(-1);
      const reach = Math.max(...values);
      if (own <= 0) return `${end} is not active at its own end (${isthmus.short(own)})`;
      const only = own / reach < WEAK ? "only " : "";
      const part = `${end} keeps ${only}${Math.round((100 * own) / reach)} %${meaning}`;
      meaning = "";
      return part;
    });
    return parts.length ? `${parts.join(", ")}.` : "";
  }

  function crossing(record, dead) {
    const place = record.crossing;
    if (place === null) return `They do not cross: ${whyNot(record, dead)}.`;
    const isCentral = Math.abs(place - 0.5) <= IN_THE_MIDDLE;
    const where = isCentral ? "in the middle" : `nearer to the end of ${place < 0.5 ? "a" : "b"}`;
    return `They cross ${where} (${place.toFixed(2)}).`;
  }

  function whyNot({ activation_a: a, activation_b: b }, dead) {
    if (dead.length) return `${dead.join(" and ")} ${dead.length > 1 ? "are" : "is"} not excited`;
    const flat = [a[0] <= a.at(-1) && "a", b.at(-1) <= b[0] && "b"].filter(Boolean);
    return flat.map((end) => `${end} is no stronger at its own end than at the other`).join(", ");
  }

  function pace({ pace, frames, layer_distance }) {
    if (pace !== null) {
      const kind = pace <= EVEN ? "even" : pace <= FAIRLY_EVEN ? "fairly even" : "uneven";
      const times = Number(pace.toPrecision(2));
      const size = times === 1 ? "as large as" : `${times} times`;
      return `The pace is ${kind}: the largest step is ${size} the smallest.`;
    }
    if (frames < 3) return "Two frames are one step, so there is no pace.";
    return Object.keys(layer_distance).length ? "" : "The pace is unknown: there are no alignment layers.";
  }

  return summary;
})();
