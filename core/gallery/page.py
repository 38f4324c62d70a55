"""The page with its scripts and styles."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

if TYPE_CHECKING:
    from core.manifest import Manifest

_HERE = Path(__file__).parent
_STYLES = "page grid pair map".split()
_SCRIPTS = "text data filter rows strip chart grid record pair neuron map about address".split()  # as they run
_LONGEST_SPEC = 20_000  # characters; more is a list of pairs that nobody reads in a page


def pages(manifest: Manifest) -> dict[str, bytes]:
    """The page with its scripts and styles, as path -> bytes; the page is last, so that it names no missing file."""
    styles = {_asset_path(f"{name}.css"): (_HERE / f"{name}.css").read_bytes() for name in _STYLES}
    scripts = {_asset_path(f"{name}.js"): (_HERE / f"{name}.js").read_bytes() for name in _SCRIPTS}
    jinja = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = jinja.get_template("page.html.j2").render(
        atlas=manifest,
        settings={digest: _as_texts(manifest.settings[digest]) for digest in sorted(manifest.settings)},
        shape=_shape(manifest.settings),
        spec=_spec_text(manifest.spec),
        model=json.dumps(_model(manifest)),
        isthmus=sorted({versions.get("isthmus", "unknown") for versions in manifest.versions}),
        styles=list(styles),
        scripts=list(scripts),
    )
    return {**styles, **scripts, "index.html": page.encode()}


def _asset_path(name: str) -> str:
    """With a digest of its content, so that a page never runs a script of another version."""
    stem, dot, suffix = name.rpartition(".")
    digest = hashlib.sha256((_HERE / name).read_bytes()).hexdigest()[:10]
    return f"assets/{stem}-{digest}{dot}{suffix}"


def _model(manifest: Manifest) -> Any:
    """The model as a spec has it: with its file, if the spec that was built is of this model."""
    model = (manifest.spec or {}).get("model")
    if not (isinstance(model, dict) and model.get("name") == manifest.model):
        return {"name": manifest.model}
    return {key: value for key, value in model.items() if value is not None}


def _shape(settings: Mapping[str, Mapping[str, Any]]) -> str:
    """What the strips are, such as `6 frames of 128 px, 512 steps`; several, where the settings differ in it."""
    shapes = {f"{one['frames']} frames of {one['size_px']} px, {one['steps']} steps" for one in settings.values()}
    return " or ".join(sorted(shapes))


def _spec_text(spec: Mapping[str, Any] | None) -> str | None:
    """The spec as YAML without the keys that are not set; None if there is none, or none that fits a page."""
    text = yaml.safe_dump(_without_nothing(spec), sort_keys=False, allow_unicode=True, width=1000) if spec else None
    return text if text and len(text) <= _LONGEST_SPEC else None


def _without_nothing(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: _without_nothing(inner) for key, inner in value.items() if inner is not None}
        return {key: inner for key, inner in kept.items() if inner != {}}
    return value


def _as_texts(settings: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
        for name, value in sorted(settings.items())
    }
