"""The scripts with what photographs say of neurons and pairs, as the page loads them.

The page loads nothing of this before a reader opens a neuron or a pair, or searches. If the spec says `publish: false`,
the scripts have numbers alone: neither small pictures nor captions nor classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from core.atlas.evidence_summary import NeuronSummary, Shown
from core.atlas.image_records import ThumbnailRecord
from core.gallery.columns import float_column, rounded, rounded_values, script_json, whole_column
from core.gallery.index import Script, make_script
from core.gallery.natural_strips import AT_MOST, LEVEL_STEPS
from core.gallery.photographs import Photographs, Thumbnail
from core.gallery.table import Table

NEURON_ROWS = 32
"""Neurons in a script: about 100 kB."""
STRIP_ROWS = 128
"""Natural strips in a script: up to 200 kB."""
SCORE_WORDS: Mapping[str, Mapping[str, Any]] = {
    "photo_multiple": {
        "sign": "⊡",
        "label": "Times photos",
        "order": "Strongest beyond photos first",
        "highestFirst": True,
        "meaning": "how strongly the ends excite their neurons, as a multiple of the strongest photograph, both "
        "counted from the mean of all photographs; the smaller of both ends",
    },
    "photo_correlation": {
        "sign": "r",
        "label": "Correlation",
        "order": "Most correlated on photos first",
        "bounds": [-1, 1],
        "highestFirst": True,
        "meaning": "correlation of the activations of both neurons over all photographs",
    },
}
"""Words of the page for the scores of photographs, in the form that its script `data.js` has for the others."""
_CLASSES = 3  # of a neuron, which a search for their names finds
_STRONG_CLASS = 1.0  # deviations above the mean
_SHOWN_CLASSES = 8  # on a neuron's page
_LONGEST_CAPTION = 200
_LONGEST_IN_STRIP = 60  # characters of a caption; a script of natural strips has up to 3,000 photographs


class Scripts:
    """The scripts with the photographs of a page.

    Args:
        thumbnails: the small pictures that exist; a photograph without one is shown by its numbers.
    """

    def __init__(self, photographs: Photographs, table: Table, thumbnails: Mapping[Thumbnail, ThumbnailRecord]) -> None:
        self._photographs = photographs
        self._table = table
        self._publish = photographs.evidence.album.publish
        self._thumbnails = thumbnails if self._publish else {}
        self._classes: Sequence[str] = photographs.evidence.listing.labels if self._publish else []
        self._class_of = {label: number for number, label in enumerate(self._classes)}

    def of_neurons(self) -> Iterator[Script]:
        """Yield the scripts with the summaries of neurons; null for neurons that are not recorded.

        Those of pairs come first, by their ids, then those without pairs.
        """
        ids = range(sum(map(len, self._table.neurons)))
        every = [*map(self._photographs.summaries.get, ids), *self._photographs.others.values()]
        for number, start in enumerate(range(0, len(every), NEURON_ROWS)):
            summaries = every[start : start + NEURON_ROWS]
            facts = [self._summary(summary) if summary else None for summary in summaries]
            yield make_script("shown", number, f"isthmus.shown({number},{script_json(facts)});\n".encode(), 0)

    def of_strips(self) -> Iterator[Script]:
        """Yield the scripts with natural strips, by rows."""
        for number, start in enumerate(range(0, len(self._table), STRIP_ROWS)):
            rows = slice(start, min(start + STRIP_ROWS, len(self._table)))
            data = f"isthmus.natural({number},{script_json(self._strips(rows))});\n".encode()
            yield make_script("natural", number, data, rows.stop - rows.start)

    def album(self, neurons: Sequence[str], strips: Sequence[str], licence: bool) -> Script:
        """Return the script with what concerns all photographs.

        Args:
            neurons, strips: the digests of the other scripts.
            licence: whether the atlas has the licence of the photographs.
        """
        facts = {
            "photographs": self._photographs.evidence.count,
            "published": self._publish,
            "licence": licence,
            "classes": list(self._classes),
            "strongest": self._strongest_classes(),
            "others": self._others(),
            "most": _CLASSES,
            "shown": {"rows": NEURON_ROWS, "digests": list(neurons)},
            "natural": {"rows": STRIP_ROWS, "most": AT_MOST, "steps": LEVEL_STEPS, "digests": list(strips)},
        }
        return make_script("album", 0, f"isthmus.album({script_json(facts)});\n".encode(), 0)

    def _others(self) -> dict[str, list[int]]:
        """Return layer -> channels of the neurons without pairs, in their sequence in the scripts."""
        found: dict[str, list[int]] = {}
        for layer, channel in self._photographs.others:
            found.setdefault(layer, []).append(channel)
        return found

    def _summary(self, summary: NeuronSummary) -> dict[str, Any]:
        classes = summary.classes[:_SHOWN_CLASSES] if self._publish else ()
        names = ("mean", "deviation", "highest", "peak_mean", "peak_deviation", "active", "sparsity")
        return {
            **{name: rounded(getattr(summary, name)) for name in names},
            "strongest": [self._shown(shown, with_place=True) for shown in summary.strongest],
            "middle": [self._shown(shown, with_place=False) for shown in summary.middle],
            "classes": [[self._class_of[one.label], one.count, rounded(one.strength)] for one in classes],
        }

    def _shown(self, shown: Shown, with_place: bool) -> dict[str, Any]:
        """Return a photograph that a neuron's page shows."""
        facts = {"peak": rounded(shown.peak), **self._picture(shown.number)}
        if with_place and self._publish:
            height, width = self._photographs.evidence.album.size
            sides = (height, width, height, width)
            facts["box"] = [round(1000 * edge / side) for edge, side in zip(shown.box, sides, strict=True)]
            facts["crop"] = self._file((shown.number, shown.box))
        return facts

    def _picture(self, number: int, longest: int = _LONGEST_CAPTION) -> dict[str, Any]:
        """Return the picture, the class and the caption of a photograph, as far as they are published.

        Args:
            longest: characters of the caption.
        """
        if not self._publish:
            return {}
        record = self._thumbnails.get((number, None))
        label = self._photographs.evidence.listing.photographs[number].label
        caption = record.caption if record else None
        facts = {
            "picture": self._file((number, None)),
            "class": None if label is None else self._class_of[label],
            "caption": caption[:longest] if caption else None,
        }
        return {name: value for name, value in facts.items() if value is not None}

    def _file(self, thumbnail: Thumbnail) -> str | None:
        """Return the digest in the path of a small picture, or None if there is none."""
        record = self._thumbnails.get(thumbnail)
        return record.sha256[:20] if record and record.sha256 else None

    def _strips(self, rows: slice) -> dict[str, Any]:
        """Return the natural strips of some rows.

        `photographs` has a place in `pictures`, counted from 1, for every slot; 0 is none. `a` and `b` have its levels.
        """
        strips = self._photographs.strips
        slots = slice(strips.starts[rows.start], strips.starts[rows.stop])
        columns: dict[str, Any] = {
            "both": whole_column(strips.both[rows]),
            "by_chance": float_column(rounded_values(strips.by_chance[rows])),
            "multiple_a": float_column(rounded_values(strips.multiples[0, rows])),
            "multiple_b": float_column(rounded_values(strips.multiples[1, rows])),
            "correlation": float_column(rounded_values(strips.correlation[rows])),
        }
        if slots.stop == slots.start:
            return columns
        used, places = np.unique(np.append(strips.photographs[slots], -1), return_inverse=True)
        columns["photographs"] = whole_column(places[:-1].astype(np.uint32))
        columns["a"], columns["b"] = (whole_column(levels) for levels in strips.levels[:, slots])
        if self._publish:
            columns["pictures"] = [self._picture(int(number), _LONGEST_IN_STRIP) for number in used[1:]]
        return columns

    def _strongest_classes(self) -> Any:
        """Return the strongest classes of each neuron by its id, three numbers for each; the number of classes is none.

        Of a class that hardly excites a neuron more than photographs do on average nothing is said.
        """
        count = sum(map(len, self._table.neurons))
        found = np.full((count, _CLASSES), len(self._classes), np.uint32)
        for neuron, summary in self._photographs.summaries.items() if self._publish else ():
            strong = [self._class_of[one.label] for one in summary.classes if one.strength >= _STRONG_CLASS]
            found[neuron, : len(strong[:_CLASSES])] = strong[:_CLASSES]
        return whole_column(found.ravel()) if count else None
