"""The gallery's page with its scripts and styles."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rjsmin import jsmin

from core.errors import counted
from core.gallery.citation import citation
from core.gallery.columns import script_json

if TYPE_CHECKING:
    from core.atlas.manifest import Manifest

_WEB = Path(__file__).parent / "web"
# Scripts run in the order of these lists, those that several parts share before the others.
_LOADED_WITH_PAGE = (
    "page.css grid.css strip.css text.js data.js filter.js rows.js strip.js grid.js welcome.js assets.js address.js"
).split()
_PHOTOGRAPHS = "photographs"  # a part of atlases that have any
_LOADED_LATER = {  # page, or another part -> its HTML, styles and scripts, which are loaded before it is opened
    "every": (  # loaded before any other part, at the first sign of a reader
        "filters.html later.css words.js copy.js favourites.js motion.js moving.js tools.js tray.js damage.js film.js "
        "scrubber.js"
    ).split(),
    "search": ["sorting.js", "keys.js", "details.js", "search.js"],
    "pair": (
        "pair.html strips.css pair.css places.js reference.js chart.js summary.js sharing.js download.js record.js "
        "around.js pair.js"
    ).split(),
    "compare": "compare.html strips.css compare.css reference.js chart.js compare.js".split(),
    "embed": "embed.html strips.css embed.css embed.js".split(),
    "neuron": "neuron.html neuron.css names.js places.js tiles.js neuron_land.js neuron.js".split(),
    "matrix": "matrix.html matrix.css cells.js matrix_view.js matrix.js".split(),
    "walk": ["walk.html", "walk.css", "names.js", "roads.js", "movie.js", "walk.js"],
    "route": ["route.html", "walk.css", "names.js", "roads.js", "movie.js", "route.js"],
    "land": (
        "land.html land.css names.js places.js tiles.js camera.js layers.js roads.js movie.js land_view.js flight.js "
        "land.js"
    ).split(),
    "about": ["about.html", "about.css", "about.js"],
    "animations": ["gifenc.js", "animations.js"],
    "csv": ["csv.js"],
    _PHOTOGRAPHS: ["photographs.css", "photographs.js", "neuron_photographs.js", "natural_strip.js"],
}
_ICON = "icon.svg"
_SHARED = "shared.js"
_STRICT = '"use strict";'
_LONGEST_SPEC = 20_000  # characters; a longer spec lists thousands of pairs and would make every page load slower


def pages(manifest: Manifest) -> dict[str, bytes]:
    """Return the page, its scripts and its styles as path -> bytes.

    The page is the last entry: if the files are written one after the other, it never refers to a missing file.
    """
    facts = {
        "atlas": manifest,
        "counted": counted,
        "settings": {digest: _as_texts(manifest.settings[digest]) for digest in sorted(manifest.settings)},
        "shape": _shape(manifest.settings),
        "spec": _spec_text(manifest.spec),
        "citation": citation(manifest),
    }
    parts = {"page": _LOADED_WITH_PAGE, **_LOADED_LATER}
    if not manifest.photographs:
        del parts[_PHOTOGRAPHS]
    bundles = _bundles(parts)
    assets = {
        bundle: _joined(bundle, [_asset(name, facts) for name in names], _needs(bundle, parts, bundles))
        for bundle, names in bundles.items()
    }
    paths = {bundle: _asset_path(bundle, data) for bundle, data in assets.items()}
    icon = (_WEB / _ICON).read_bytes().rstrip()
    icon_path = _asset_path(_ICON, icon)
    site = (manifest.spec or {}).get("site")
    template = _templates().get_template("page.html.j2")
    page = template.render(
        facts,
        description=_description(manifest),
        icon=icon_path,
        site=f"{site.rstrip('/')}/" if isinstance(site, str) else "",
        model=json.dumps(_model(manifest)),
        style=paths["page.css"],
        script=paths["page.js"],
        later=_later(parts, bundles, paths, _data_of(manifest)),
    )
    html = re.sub(r"^\s+", "", page, flags=re.MULTILINE)
    return {icon_path: icon, **{paths[bundle]: data for bundle, data in assets.items()}, "index.html": html.encode()}


@cache
def _templates() -> Environment:
    """Return the templates; each is compiled once, however often a process publishes."""
    return Environment(
        loader=FileSystemLoader(_WEB), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _description(manifest: Manifest) -> str:
    """Return what the atlas is in one or two sentences, which other sites show beside a link to it."""
    said = []
    if manifest.counts.pairs:
        pairs = counted(manifest.counts.pairs, "pair")
        each = "for each, " if manifest.counts.pairs > 1 else ""
        said.append(
            f"{pairs} of neurons of {manifest.model}: {each}images that lead from what excites one neuron "
            "to what excites the other."
        )
    if manifest.land:
        neurons = counted(manifest.land.neurons, "neuron")
        said.append(f"One picture of {neurons} of {manifest.model}, in which similar ones are side by side.")
    return " ".join(said)


def _data_of(manifest: Manifest) -> dict[str, str]:
    """Return script -> path of its data, which every part that has the script loads last."""
    found = {}
    if manifest.land and manifest.land.data:
        found["places.js"] = manifest.land.data
    if manifest.photographs:
        found["photographs.js"] = manifest.photographs.album.path
    return found


def _bundles(parts: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return bundle -> its sources. A bundle is one file, because each request costs time.

    The bundles are `page.css` and `later.css`, `shared.js` with what several parts need, and a script of each part.
    """
    bundles: dict[str, list[str]] = {"page.css": [], "page.js": [], _SHARED: []}
    for name in dict.fromkeys(chain.from_iterable(parts.values())):
        users = [part for part, names in parts.items() if name in names]
        if name.endswith(".css"):
            bundle = "page.css" if users == ["page"] else "later.css"
        else:
            bundle = f"{users[0]}.js" if len(users) == 1 else _SHARED
        bundles.setdefault(bundle, []).append(name)
    return bundles


def _needs(bundle: str, parts: Mapping[str, Sequence[str]], bundles: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the scripts that a bundle of a part needs besides the page's."""
    part = bundle.removesuffix(".js")
    if part not in parts or part in ("page", "every", "search"):
        return []
    return ["every"] + ["shared"] * bool(set(parts[part]) & set(bundles[_SHARED]))


def _later(
    parts: Mapping[str, Sequence[str]],
    bundles: Mapping[str, Sequence[str]],
    paths: Mapping[str, str],
    data: Mapping[str, str],
) -> dict[str, str]:
    """Return what is loaded later: the paths of the files, and the parts with the places of their files in that list.

    Both are texts such as `a.js b.js data/c.js` and `pair:0,2 walk:0,1`, which take less room in HTML than JSON does.
    Files without a folder are in `assets/`. All styles come with the part `every`.

    Args:
        data: script -> path of its data.
    """
    files = {paths[bundle].removeprefix("assets/"): names for bundle, names in bundles.items() if "page." not in bundle}
    files |= {path: [script] for script, path in data.items()}

    def places(part: str) -> str:
        wanted = set(parts[part])
        return ",".join(
            str(place)
            for place, (file, names) in enumerate(files.items())
            if (part == "every" if file.endswith(".css") else wanted.intersection(names))
        )

    return {
        "files": " ".join(files),
        "parts": " ".join(f"{part}:{places(part)}" for part in parts if part != "page"),
    }


def _asset(name: str, facts: Mapping[str, Any]) -> str:
    """Return a script or style as it is published; HTML as the script that puts it into its element.

    A page that is opened from a folder cannot load HTML, but it can load scripts.
    """
    if not name.endswith(".html"):
        return _packed(name)
    html = _templates().get_template(f"{name}.j2").render(facts)
    return f"isthmus.html({script_json(name.removesuffix('.html'))},{script_json(html)});"


@cache
def _packed(name: str) -> str:
    """Read a script or style without its comments and most of its white space."""
    source = (_WEB / name).read_text(encoding="utf-8")
    if name.endswith(".js"):
        packed: str = jsmin(source)
        return packed.removeprefix(_STRICT)
    source = re.sub(r"\s+", " ", re.sub(r"/\*.*?\*/", "", source, flags=re.DOTALL))
    source = re.sub(r" ?([{};,>]) ?|(?<=:) ", r"\1", source).replace(";}", "}").strip()
    return re.sub(r"(?<=[:, (])0\.", ".", source)


def _joined(bundle: str, sources: Sequence[str], needs: Sequence[str]) -> bytes:
    """Join packed styles, or packed scripts, all of which are strict.

    Joined scripts do not begin without those that they need, and say in the end that they have run, see `assets.js`.
    """
    if bundle.endswith(".css"):
        return "".join(sources).encode()
    begin = [f'isthmus.need("{script}");' for script in needs]
    end = [] if bundle == "page.js" else [f"isthmus.ran.{bundle.removesuffix('.js')}=1;"]
    return "\n".join([_STRICT, *begin, *sources, *end, ""]).encode()


def _asset_path(name: str, data: bytes) -> str:
    """Return a path with a digest of the content, so that a page never runs a script of another version."""
    stem, dot, suffix = name.rpartition(".")
    return f"assets/{stem}-{hashlib.sha256(data).hexdigest()[:8]}{dot}{suffix}"


def _model(manifest: Manifest) -> Any:
    """Return the model as the stored spec describes it, or only its name if that spec is of another model."""
    model = (manifest.spec or {}).get("model")
    if not (isinstance(model, dict) and model.get("name") == manifest.model):
        return {"name": manifest.model}
    return {key: value for key, value in model.items() if value is not None}


def _shape(settings: Mapping[str, Mapping[str, Any]]) -> str:
    """Describe the strips, such as `6 frames of 128 px, 512 steps`; shapes that differ are joined by `or`."""
    shapes = {
        f"{one['frames']} frames of {one['size_px']} px, {counted(one['steps'], 'step')}" for one in settings.values()
    }
    return " or ".join(sorted(shapes))


def _spec_text(spec: Mapping[str, Any] | None) -> str | None:
    """Return the spec as YAML without unset keys, or None if there is no spec or it is too long for a page."""
    text = yaml.safe_dump(_without_unset(spec), sort_keys=False, allow_unicode=True, width=1000) if spec else None
    return text if text and len(text) <= _LONGEST_SPEC else None


def _without_unset(value: Any) -> Any:
    """Drop keys whose value is None, and objects that have no other keys."""
    if isinstance(value, dict):
        kept = {key: _without_unset(inner) for key, inner in value.items() if inner is not None}
        return {key: inner for key, inner in kept.items() if inner != {}}
    return value


def _as_texts(settings: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
        for name, value in sorted(settings.items())
    }
