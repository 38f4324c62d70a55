"""The published land: its pyramid of tiles, and the script with its neurons and their numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection

from core.atlas.finished_land import FinishedLand, block_reader
from core.atlas.keys import key_of
from core.atlas.labels import Labels
from core.atlas.land_picture import TILE_PX, Tile, level_sizes, pyramid, tile_places
from core.atlas.manifest import MANIFEST_PATH, LandFiles, Manifest, read_manifest, read_tile_index, tile_index_path
from core.errors import RecordError
from core.gallery.columns import column, rounded, script_json
from core.machine.processors import processors
from core.machine.threads import in_threads
from core.neurons import Neuron
from core.pictures.sheets import encode_webp
from core.store.store import Store

_TILES = 1  # the way in which tiles are made of blocks; another way has another number, and so another folder


def tiles_folder(finished: FinishedLand) -> str:
    """Return the folder of the tiles, named by a digest of everything that their pixels depend on."""
    land = finished.land
    facts = {
        "tiles": _TILES,
        "tile_px": TILE_PX,
        "places": [land.rows, land.columns, land.cell_px],
        "blocks": [land.block_rows, land.block_columns, land.margin_px],
        "pictures": [finished.blocks[block].sha256 for block in land.blocks],
    }
    return f"land/{key_of(facts)}/"


def write_tiles(store: Store, finished: FinishedLand) -> bytes:
    """Write the tiles that are missing, then their index; return the index.

    The index is JSON, path -> sha256 of each tile. If it and all tiles exist, nothing is rendered.

    Raises:
        RecordError: if the picture of a block is damaged.
        StoreError: if the store cannot be read or written.
    """
    folder = tiles_folder(finished)
    index = tile_index_path(folder)
    present = set(store.list(folder))
    expected = {_tile_path(folder, *place) for place in tile_places(finished.land)}
    if {index, *expected} <= present:
        stored = store.read(index)
        try:
            if read_tile_index(stored, index).keys() == expected:
                return stored
        except RecordError:
            pass  # a damaged index is written again

    def write(tile: Tile) -> tuple[str, str]:
        path = _tile_path(folder, tile.level, tile.column, tile.row)
        if path in present:
            data = store.read(path)
        else:
            data = encode_webp(tile.pixels)
            store.replace(path, data)
        return path, hashlib.sha256(data).hexdigest()

    read = block_reader(store, finished.land, {block: stored.path for block, stored in finished.blocks.items()})
    threads = processors()
    digests = dict(in_threads(write, pyramid(finished.land, read), threads=threads, held=2 * threads))
    data = (json.dumps(digests, sort_keys=True, indent=0) + "\n").encode()
    store.replace(index, data)
    return data


def land_script(finished: FinishedLand, labels: Labels) -> bytes:
    """Return the script with the places and the numbers of a land, one list per field, by place, row by row.

    If all places have the same number, it stands instead of the list. Places whose neurons have labels are in `labels`,
    by their numbers.
    """
    land = finished.land
    fields = {
        "layer": land.layer,
        "channels": [channel for _, channel in land.neurons],
        "rows": land.rows,
        "columns": land.columns,
        "cell_px": land.cell_px,
        "tiles": tiles_folder(finished),
        "tile_px": TILE_PX,
        "levels": len(level_sizes(land)),
        "model": finished.model,
        "steps": finished.steps,
        "activation": column([rounded(value) for value in finished.activation]),
        "compared": column([rounded(value) for value in finished.compared]),
        "dead": column([int(dead) for dead in finished.dead]),
        "noise": column([rounded(value) for value in finished.noise]),
    }
    if named := {str(place): list(labels[neuron]) for place, neuron in enumerate(land.neurons) if neuron in labels}:
        fields["labels"] = named
    return f"isthmus.land({script_json(fields)});\n".encode()


def script_neurons(script: bytes) -> tuple[Neuron, ...]:
    """Return the neurons of a land by its script, see `land_script`; none if the script is damaged."""
    try:
        fields = json.loads(script[script.index(b"(") + 1 : script.rindex(b")")])
        return tuple(Neuron(fields["layer"], channel) for channel in fields["channels"])
    except (ValueError, KeyError, TypeError):
        return ()


def land_files(finished: FinishedLand, index: bytes, script: bytes) -> LandFiles:
    """Return what the manifest says of a land.

    Args:
        index: the index of the tiles.
        script: the script with the land's numbers.
    """
    digest = hashlib.sha256(script).hexdigest()
    return LandFiles(
        tiles=tiles_folder(finished),
        tile_px=TILE_PX,
        levels=len(level_sizes(finished.land)),
        tile_count=sum(1 for _ in tile_places(finished.land)),
        index_sha256=hashlib.sha256(index).hexdigest(),
        data=f"data/land-{digest[:10]}.js",
        sha256=digest,
        bytes=len(script),
        neurons=len(finished.land.neurons),
    )


def is_land_published(finished: FinishedLand, files: LandFiles | None, labels: Labels) -> bool:
    """Return whether files of a manifest are those of a land, with these labels."""
    digest = hashlib.sha256(land_script(finished, labels)).hexdigest()
    return files is not None and (files.tiles, files.sha256) == (tiles_folder(finished), digest)


def published_land(store: Store, present: Collection[str]) -> tuple[Manifest, LandFiles, set[str]] | None:
    """Return the published manifest, its land and the paths of the land's files; None unless all of them exist."""
    try:
        manifest = read_manifest(store) if store.exists(MANIFEST_PATH) else None
        if manifest is None or manifest.land is None or tile_index_path(manifest.land.tiles) not in present:
            return None
        paths = land_paths(manifest.land, store.read(tile_index_path(manifest.land.tiles)))
    except RecordError:
        return None
    return (manifest, manifest.land, paths) if paths.issubset(present) else None


def land_paths(land: LandFiles, index: bytes) -> set[str]:
    """Return the paths of the files of a published land: its script, the index of its tiles, and the tiles."""
    path = tile_index_path(land.tiles)
    return {land.data, path, *read_tile_index(index, path)}


def _tile_path(folder: str, level: int, column: int, row: int) -> str:
    return f"{folder}{level}/{column}_{row}.webp"
