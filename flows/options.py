"""Arguments and options that several commands share, and functions for the specs, atlases and files that they name."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import SpecError, StoreError
from flows.terminal import renamed_keys_in_one_line, warn

if TYPE_CHECKING:
    from core.models.model import Model
    from core.spec import AtlasSpec, ModelSpec
    from core.store.store import Store

SpecFile = Annotated[Path, typer.Argument(metavar="SPEC", help="YAML file with the spec of the atlas.")]
Atlas = Annotated[
    str,
    typer.Argument(metavar="ATLAS", help="Folder or s3:// address of an atlas, or the spec that it was built from."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and no progress.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the messages of TensorFlow and Prefect.")]
ModelName = Annotated[str, typer.Option("--model", metavar="NAME", help="Name of the image model, as in a spec.")]
ModelFile = Annotated[
    str | None,
    typer.Option("--model-file", "--file", metavar="FILE", help="Weights of the model, if its kind needs a file."),
]
Sha256 = Annotated[
    str | None, typer.Option("--sha256", help="sha256 of the model file; required if the file is downloaded.")
]
InputNode = Annotated[str | None, typer.Option("--input", metavar="NODE", help="Node of the graph that takes images.")]
ValueRange = Annotated[
    tuple[float, float] | None,
    typer.Option(
        "--value-range", metavar="BLACK WHITE", help="Values of black and white that the network expects, such as 0 1."
    ),
]
Preprocess = Annotated[
    str | None,
    typer.Option("--preprocess", metavar="NAME", help="What is done to images: imagenet, clip, inception or caffe."),
]
Weights = Annotated[
    str | None, typer.Option("--weights", help="Weights of a keras:NAME model: imagenet, or none for random ones.")
]
SkipTokens = Annotated[
    int | None, typer.Option("--skip-tokens", help="Tokens before those of patches, if the network does not show it.")
]
_SEARCHED, _NAMED = 50, 5  # folders that are searched for an atlas, and atlases that a message names
Frames = Annotated[int, typer.Option("--frames", help="Frames in a strip.")]
SizePx = Annotated[int, typer.Option("--size-px", help="Height and width of a frame, in pixels.")]


def read_spec_file(path: Path) -> AtlasSpec:
    """Read a spec; print a warning line for every key that it gives by an old name.

    Raises:
        SpecError: in one line with file, field, what was expected and what was found.
    """
    from core.spec_file import read_spec

    with renamed_keys_in_one_line(path):
        return read_spec(path)


def check_labels(spec: AtlasSpec) -> None:
    """Read the labels of a spec, so that a mistake in them is told before anything is rendered.

    Raises:
        SpecError: in one line with file and line, what was expected and what was found.
    """
    from core.atlas.labels import read_labels

    if spec.labels is not None:
        read_labels(Path(spec.labels))


def warned_of_mixing(spec: AtlasSpec, store: Store) -> tuple[str, ...]:
    """Print a warning for everything in which a spec differs from the atlas of its name, and return the warnings.

    Raises:
        SpecError: if the atlas has pairs of another model.
    """
    from core.atlas.mixing import check_mixing

    warnings = check_mixing(spec, store)
    for text in warnings:
        warn(text)
    return warnings


def existing_store(atlas: str) -> Store:
    """Return the store of an atlas, given its folder, its address or its spec; see `existing_atlas`."""
    return existing_atlas(atlas)[0]


def existing_atlas(atlas: str) -> tuple[Store, AtlasSpec | None]:
    """Return the store of an atlas, and its spec if that is given and not the folder or the address.

    Raises:
        SpecError: if there is no atlas; the message has the place that was searched.
    """
    from core.atlas.verify import is_atlas
    from core.store.store import open_store

    path, spec = Path(atlas), None
    if "://" in atlas:
        store = open_store(atlas)
    elif path.suffix in (".yaml", ".yml") or os.path.isfile(path):  # noqa: PTH113  (false if the name is too long)
        spec = read_spec_file(path)
        store = open_store(spec.uri, spec.storage)
    elif os.path.isdir(path):  # noqa: PTH112
        store = open_store(atlas)
    else:
        expected = "expected the folder of an atlas or a spec file"
        raise SpecError(f"{atlas}: {expected}, found neither at {path.absolute()}")
    if not is_atlas(store):
        raise SpecError(_no_atlas(atlas, spec, store))
    return store, spec


def _no_atlas(atlas: str, spec: AtlasSpec | None, store: Store) -> str:
    """Return the message for a store without an atlas: where it was searched for, and what to do."""
    place = store.location("").rstrip("/")
    if "://" in place:
        return (
            f"{atlas}: no atlas at {store} (searched {place}/); build it first, "
            "or correct bucket, prefix, name, storage.endpoint_url or AWS_ENDPOINT_URL"
        )
    if spec and not Path(spec.output).expanduser().is_absolute():
        near = _near(Path(atlas).parent / spec.uri)
        return (
            f"{atlas}: no atlas at {place} (output {spec.output!r} is relative to the folder where the command runs); "
            f"run the command in the folder of the build, or name the atlas's folder{near}"
        )
    return f"{atlas}: no atlas at {place}; build it first, or name another folder{_near(Path(place))}"


def _near(place: Path) -> str:
    """Return the addresses of atlases at, in and beside a folder, as the end of a message."""
    from core.atlas.verify import is_atlas
    from core.store.store import DirectoryStore

    with suppress(OSError, StoreError):
        for folders in ([place], [place.parent], place.glob("*/"), place.parent.glob("*/")):
            found = [folder for folder in islice(folders, _SEARCHED) if is_atlas(DirectoryStore(folder))]
            if found:
                names = ", ".join(str(folder.resolve()) for folder in found[:_NAMED])
                return f"; found {'an atlas' if len(found) == 1 else 'atlases'} at {names}"
    return ""


def model_data(
    name: str,
    file: str | None,
    sha256: str | None,
    input_node: str | None,
    weights: str | None,
    value_range: tuple[float, float] | None = None,
    preprocess: str | None = None,
    skip_tokens: int | None = None,
) -> dict[str, Any]:
    """Return the section `model` of a spec, from the options that describe a model."""
    return {
        "name": name,
        "file": file,
        "sha256": sha256,
        "input": input_node,
        "weights": weights,
        "value_range": value_range,
        "preprocess": preprocess,
        "tokens": None if skip_tokens is None else {"skip": skip_tokens},
    }


def warned_of_range(model: Model, spec: ModelSpec) -> tuple[str, ...]:
    """Ask about the range of values that a model expects, if images hardly move it; return the question."""
    from core.models.range_question import range_question

    question = range_question(model, spec)
    if question is not None:
        warn(question)
    return (question,) if question else ()


def check_output_folder(output: Path, option: str = "--output") -> None:
    """Check that the folder of an output file exists, before anything is rendered.

    Raises:
        SpecError: if the folder does not exist.
    """
    if not output.parent.is_dir():
        raise SpecError(f"{option}: expected a file in an existing folder, {output.parent} does not exist")
