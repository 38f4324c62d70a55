"""`isthmus land`, which writes the picture of a land, and the land that `isthmus route --over-land` flies over."""

from __future__ import annotations

import json
import re
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from core.errors import SpecError, counted
from flows.options import Atlas, Json, check_output_folder, existing_atlas
from flows.terminal import progress_bars

if TYPE_CHECKING:
    from core.arrays import Pixels
    from core.atlas.land_picture import ReadBlock
    from core.neurons import Neuron
    from core.pictures.land import Block, Land

FLIGHT_FRAMES = 48
_FLIGHT_MILLISECONDS = 50  # of a frame; a flight has more frames than a route, and its steps are smaller
_SUFFIXES = (".png", ".webp")
_AROUND = 1  # places on each side of a neuron's place


class Part(NamedTuple):
    """A part of a picture, in pixels."""

    x: int
    y: int
    width: int
    height: int


def land(
    atlas: Atlas,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write: .png without loss, or .webp, which is smaller.")
    ] = Path("land.png"),
    part: Annotated[
        str | None, typer.Option("--part", metavar="X,Y,WIDTH,HEIGHT", help="Only this part, in pixels.")
    ] = None,
    around: Annotated[
        str | None,
        typer.Option("--around", metavar="NEURON", help="Only the place of this neuron and those around it."),
    ] = None,
    scale: Annotated[float, typer.Option("--scale", help="Make the picture smaller: 0.5 halves height and width.")] = 1,
    as_json: Json = False,
) -> None:
    """Write the land of an atlas into one file.

    A land is one picture of all neurons of a layer, in which similar ones are side by side. It must be finished;
    nothing is rendered.
    """
    from core.store.store import DirectoryStore

    if output.suffix.lower() not in _SUFFIXES:
        raise SpecError(f"--output: expected a file name that ends in .png or .webp, got {output}")
    if not 0 < scale <= 1:
        raise SpecError(f"--scale: expected a number above 0 and up to 1, got {scale:g}")
    if part is not None and around is not None:
        raise SpecError("--part: expected a part or a neuron, got --part and --around; give one of them")
    check_output_folder(output)
    place, read = finished_land(atlas)
    shown = _part_around(place, around) if around is not None else _parse_part(part, place)
    size = (max(1, round(shown.width * scale)), max(1, round(shown.height * scale)))
    _check_size(output, size)
    data = _picture(place, read, shown, size, output, show=not as_json)
    DirectoryStore(output.parent).replace(output.name, data)
    if as_json:
        facts = {"file": str(output), "width": size[0], "height": size[1], "bytes": len(data)}
        print(json.dumps({**facts, "part": shown._asdict()}))
    else:
        print(f"{output}: {size[0]:,} x {size[1]:,} px, {len(data) / 1e6:.1f} MB")


def flight(atlas: str, ends: tuple[Neuron, Neuron], frames: int, output: Path, captions: bool, as_json: bool) -> None:
    """Write a flight between two neurons of the land of an atlas, and print what was written.

    Args:
        ends: the neurons at whose places the flight starts and ends.
        output: a .webp for a movie, or a .png for a sheet.
        captions: whether to write the nearest neuron below each frame.
    """
    from core.atlas import flight as flights
    from core.atlas import route_picture as routes
    from core.store.store import DirectoryStore

    if ends[0] == ends[1]:
        raise SpecError(f"expected two different neurons, got {ends[0]} twice")
    place, read = finished_land(atlas)
    first, last = (flights.number_on(place, end) for end in ends)
    names = flights.neurons_below(place, first, last, frames)
    pictures = flights.fly(place, read, first, last, frames)
    if captions:
        pictures = routes.with_captions(pictures, names)
    DirectoryStore(output.parent).replace(output.name, routes.encode(pictures, output, _FLIGHT_MILLISECONDS))
    neurons = [name for name, _ in groupby(names)]
    if as_json:
        print(json.dumps({"file": str(output), "neurons": neurons, "frames": frames}))
    else:
        print(f"{output}: {counted(frames, 'frame')} over the land: {' - '.join(neurons)}")


def finished_land(atlas: str) -> tuple[Land, ReadBlock]:
    """Return the land of an atlas and a function that reads its blocks.

    Args:
        atlas: the folder of the atlas, its address or its spec.

    Raises:
        SpecError: if there is no such atlas, or it has no land.
        RecordError: if the land is not finished.
    """
    from core.atlas.finished_land import block_reader, check_finished
    from core.atlas.land_plan import read_planned_land
    from core.atlas.records import block_path

    store, _ = existing_atlas(atlas)
    planned = read_planned_land(store)
    if planned is None:
        raise SpecError(f"{store}: expected an atlas with a land, found none; build a spec with the key land first")
    paths = {block: block_path(key) for block, key in planned.keys.items()}
    check_finished(store, planned.land, paths)
    return planned.land, block_reader(store, planned.land, paths)


def _parse_part(text: str | None, land: Land) -> Part:
    """Return the part that is written X,Y,WIDTH,HEIGHT, or the whole picture."""
    height, width = land.size_px
    if text is None:
        return Part(0, 0, width, height)
    if re.fullmatch(r" *[0-9]{1,6}( *, *[0-9]{1,6}){3} *", text):
        part = Part(*map(int, text.split(",")))
        if part.width and part.height and part.x + part.width <= width and part.y + part.height <= height:
            return part
    raise SpecError(
        f"--part: expected X,Y,WIDTH,HEIGHT within {width} x {height} px, such as 0,0,512,512, got {text!r}"
    )


def _part_around(land: Land, written: str) -> Part:
    """Return the part with the place of a neuron and the places around it."""
    from core.atlas.flight import number_on
    from core.neurons import Neuron

    row, column = land.place_of(number_on(land, Neuron.parse(written)))
    top, left = max(0, row - _AROUND), max(0, column - _AROUND)
    bottom, right = min(land.rows, row + _AROUND + 1), min(land.columns, column + _AROUND + 1)
    x, y, width, height = (places * land.cell_px for places in (left, top, right - left, bottom - top))
    return Part(x, y, width, height)


def _check_size(output: Path, size: tuple[int, int]) -> None:
    from core.pictures.sheets import WEBP_LIMIT_PX

    if output.suffix.lower() == ".webp" and max(size) > WEBP_LIMIT_PX:
        largest = f"WebP has at most {WEBP_LIMIT_PX:,} px in each direction"
        raise SpecError(
            f"--output: {largest}, this picture has {size[0]:,} x {size[1]:,} px; "
            f"write a .png, or give a --scale of {WEBP_LIMIT_PX / max(size):.2g} or less"
        )


def _picture(land: Land, read: ReadBlock, shown: Part, size: tuple[int, int], output: Path, show: bool) -> bytes:
    """Return the file with a part of a land; show a bar of the blocks that are read if *show*."""
    from core.atlas import land_picture
    from core.pictures.sheets import encode_png, encode_webp, resized

    x, y, width, height = shown
    with progress_bars(show) as progress:
        bar = progress.add_task("blocks", total=len(land_picture.overlapping(land, y, x, height, width)))

        def read_and_tell(block: Block) -> Pixels:
            pixels = read(block)
            progress.advance(bar)
            return pixels

        pixels = land_picture.part(land, read_and_tell, y, x, height, width)
        progress.update(bar, description="writing")
        if size != (width, height):
            pixels = resized(pixels, size)
        return encode_png(pixels) if output.suffix.lower() == ".png" else encode_webp(pixels)
