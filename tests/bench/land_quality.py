"""Quality of a land that is built: its neurons against portraits of their own, likeness of neighbours, and seams.

    python tests/bench/land_quality.py ATLAS

Every neuron of the land gets an image of its own with the same number of updates, which takes as long as the land. The
mean gradient of pixels and of two layers across the borders of blocks is compared with that inside them.
"""

from __future__ import annotations

import json
import sys

import numpy as np

from core.machine import device


def main(atlas: str) -> None:
    device.prepare()
    import tensorflow as tf

    from core.arrays import Array
    from core.atlas.arrangement import cosines, neighbour_cosine
    from core.atlas.finished_land import block_reader, recorded_land
    from core.atlas.land_picture import part
    from core.atlas.land_plan import read_planned_land
    from core.method.ends import EndsRenderer
    from core.method.mix import Mix
    from core.method.renderer import Subject
    from core.models.models import load
    from core.spec import Alignment, ModelSpec
    from core.store.store import open_store

    store = open_store(atlas)
    planned, finished = read_planned_land(store), recorded_land(store)
    assert planned is not None, "the atlas has no land"
    assert finished is not None, "the land is not finished"
    land, layer = planned.land, planned.land.layer
    model = load(ModelSpec(name=finished.model))
    settings = planned.settings.model_copy(update={"sharing": False, "alignment": Alignment(weight=0), "frames": 6})

    @tf.function(reduce_retracing=True)
    def activations(images: tf.Tensor, layers: tuple[str, ...]) -> dict[str, tf.Tensor]:
        return model.activations(images, layers)

    channels = [neuron.channel for neuron in land.neurons]
    renderer = EndsRenderer(
        model, (layer, layer), settings, Mix(model, (layer, layer), settings, 1), strips=1, checkpoints=()
    )
    alone: dict[int, float] = {}
    for pair in zip(channels[::2], [*channels[1::2], channels[0]], strict=False):
        [ends] = renderer.render([Subject(pair, pair[0])], lambda updates: None)
        for channel, portrait in zip(pair, ends.portraits, strict=True):
            found = activations(tf.constant(portrait.pixels[None], tf.float32) / 255, (layer,))[layer]
            alone[channel] = float(tf.reduce_mean(found[..., channel]))
    live = [n for n, channel in enumerate(channels) if alone[channel] > (finished.noise[n] or 0)]
    shares = np.array([(finished.activation[n] or 0) / alone[channels[n]] for n in live])

    read = block_reader(store, land, {block: stored.path for block, stored in finished.blocks.items()})
    picture = part(land, read, 0, 0, *land.size_px).astype(np.float32) / 255
    shallow = list(model.layers)[list(model.layers).index(layer) // 2]
    figures = {"pixels": _across_borders(picture, land.cell_px, (land.block_rows, land.block_columns))}
    for name in (shallow, layer):
        rows: list[Array] = []  # in stripes of blocks, with places around them, because of the memory
        height = land.block_rows * land.cell_px
        for top in range(0, land.size_px[0], height):
            first = max(0, top - land.cell_px)
            stripe = picture[first : top + height + land.cell_px]
            found = activations(tf.constant(stripe[None]), (name,))[name][0].numpy()
            per_px = found.shape[0] / stripe.shape[0]
            start = round((top - first) * per_px)
            rows.append(found[start : start + round(min(height, land.size_px[0] - top) * per_px)])
        whole = np.concatenate(rows)
        cell = whole.shape[0] * land.cell_px / land.size_px[0]
        figures[name] = _across_borders(whole, cell, (land.block_rows, land.block_columns))

    likeness = cosines(np.asarray(model.fan_in(layer))[channels])
    at_random = np.random.default_rng(0).permutation(len(channels))
    print(
        json.dumps(
            {
                "neurons": len(channels),
                "live": len(live),
                "share_of_portrait": {
                    "mean": round(float(shares.mean()), 3),
                    "5th percentile": round(float(np.percentile(shares, 5)), 3),
                    "lowest": round(float(shares.min()), 3),
                    "at least 0.85": round(float((shares >= 0.85).mean()), 3),
                },
                "neighbour_cosine": round(neighbour_cosine(likeness, range(len(channels)), land.columns), 4),
                "neighbour_cosine_at_random": round(neighbour_cosine(likeness, at_random.tolist(), land.columns), 4),
                "gradient_across_borders_over_inside": figures,
            },
            indent=1,
        )
    )


def _across_borders(t: np.ndarray, cell: float, block: tuple[int, int]) -> dict[str, float]:  # type: ignore[type-arg]
    """Return the mean absolute step over the borders of blocks, as a share of that inside, down and across.

    Steps within an eighth of a cell of a border count as over it.
    """
    found = {}
    for axis, cells in enumerate(block):
        steps = np.abs(np.diff(t, axis=axis)).mean(axis=tuple({0, 1, 2} - {axis}))
        place = (np.arange(len(steps)) + 1) / (cell * cells)
        distance = np.abs(place - np.rint(place)) * cells
        border = (distance <= 1 / 8) & (np.rint(place) > 0) & (np.rint(place) < round(t.shape[axis] / cell / cells))
        found["down" if axis == 0 else "across"] = round(float(steps[border].mean() / steps[distance > 0.5].mean()), 3)
    return found


if __name__ == "__main__":
    main(sys.argv[1])
