"""The published page with its scripts and styles."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from rjsmin import jsmin
from sample_records import RECORDS, atlas

from core.atlas.manifest import Manifest, PhotographFiles
from core.gallery.page import pages
from core.gallery.publish import publish
from core.spec import Alignment, RenderSettings

WEB = Path(__file__).parents[2] / "core/gallery/web"
STRICT = '"use strict";'


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """The manifest of a small atlas with two settings."""
    return publish(atlas(tmp_path, RECORDS), "small")


def test_the_page_comes_last_and_names_all_its_files(manifest: Manifest) -> None:
    """Each script, style and icon has the digest of its content in its name, and the page names exactly these files."""
    files = pages(manifest)
    *assets, last = files

    assert last == "index.html"
    page = files[last].decode()
    [later] = re.findall('data-files="([^"]+)"', page)
    named = [*re.findall('"assets/([^" ]+)"', page), *(file for file in later.split() if "/" not in file)]
    assert [f"assets/{file}" for file in dict.fromkeys(named)] == assets
    for path in assets:
        assert re.search("-([0-9a-f]{8})[.](?:js|css|svg)$", path)
        assert hashlib.sha256(files[path]).hexdigest()[:8] in path


def test_every_script_and_style_in_the_package_is_published_once(manifest: Manifest) -> None:
    """The published scripts and styles are those in the package, joined; those for photographs come only with them."""
    assert manifest.index
    photographs = PhotographFiles(
        evidence="0", photographs=2, published=True, pictures=0, missing=0, album=manifest.index, scripts=[]
    )
    compared = pages(manifest.model_copy(update={"photographs": photographs}))
    sources = [path for path in WEB.iterdir() if path.suffix in (".js", ".css")]
    scripts = [jsmin(path.read_text(encoding="utf-8")).removeprefix(STRICT) for path in sources if path.suffix == ".js"]
    styles = [bare(path.read_text(encoding="utf-8")) for path in sources if path.suffix == ".css"]
    html = {path.name.removesuffix(".html.j2") for path in WEB.glob("*.html.j2")} - {"page", "head"}

    lines = joined(compared, ".js").splitlines()
    assert {json.loads(line[13:].partition(",")[0]) for line in lines if line.startswith("isthmus.html(")} == html
    rest = "\n".join(line for line in lines if not line.startswith("isthmus.html("))
    for script in scripts:
        assert rest.count(script) == 1
        rest = rest.replace(script, "")
    assert not rest.strip()

    rest = bare(joined(compared, ".css"))
    for style in styles:
        assert rest.count(style) == 1
        rest = rest.replace(style, "")
    assert rest == ""
    icons = {re.sub("-[0-9a-f]{8}", "", path) for path in compared if path.endswith(".svg")}
    assert icons == {f"assets/{path.name}" for path in WEB.glob("*.svg")}

    plain = {".js": joined(pages(manifest), ".js"), ".css": bare(joined(pages(manifest), ".css"))}
    packed = dict(zip([path for path in sources if path.suffix == ".js"], scripts, strict=True))
    packed |= zip([path for path in sources if path.suffix == ".css"], styles, strict=True)
    assert {path.name for path, body in packed.items() if body not in plain[path.suffix]} == {
        "photographs.css",
        "photographs.js",
        "neuron_photographs.js",
        "natural_strip.js",
    }


def test_the_styles_of_a_page_apply_to_that_page() -> None:
    """All styles are loaded with all pages: a rule of one page names an element of it, or a class of no other page."""
    owners: dict[str, set[str]] = {}
    for part in ("pair", "compare", "embed", "neuron", "matrix", "walk", "land", "about", "photographs"):
        style = re.sub(r"/\*.*?\*/", "", (WEB / f"{part}.css").read_text(encoding="utf-8"), flags=re.DOTALL)
        rules = re.sub(r"@keyframes[^{]*\{(?:[^{}]*\{[^}]*\})*\s*\}", "", style)
        selectors = [one for rule in re.findall(r"([^{}]+)\{", rules) for one in re.split(r",(?![^(]*\))", rule)]
        for selector in (one.strip() for one in selectors):
            if "#" not in selector and not selector.startswith("@"):
                assert re.match(r"[.]\w", selector), f"{part}.css: {selector}"
                owners.setdefault(re.split(r"[\s:.>\[]", selector)[1], set()).add(part)
    assert {name: parts for name, parts in owners.items() if len(parts) > 1} == {}


def joined(files: dict[str, bytes], suffix: str) -> str:
    """Return all published scripts or styles, without the beginning and the end that each script has."""
    texts = [data.decode() for path, data in files.items() if path.endswith(suffix)]
    if suffix == ".js":
        assert all(text.startswith(STRICT) for text in texts)
        guards = re.compile(r'^isthmus[.](need\("\w+"\)|ran[.]\w+=1);\n', re.MULTILINE)
        texts = [guards.sub("", text.removeprefix(STRICT)) for text in texts]
    return "".join(texts)


def bare(style: str) -> str:
    """Return a style without comments and what makes no difference."""
    style = re.sub(r"/\*.*?\*/", "", style, flags=re.DOTALL)
    return re.sub(r"\s+", "", re.sub(r"(?<=[:,(\s])0\.", ".", style)).replace(";}", "}")


def test_published_scripts_and_styles_have_no_comments(manifest: Manifest) -> None:
    """Comments and indentation stay in the sources; the scripts and styles that a browser loads have none."""
    for path, data in pages(manifest).items():
        if path.endswith((".js", ".css")):
            assert not re.search(rb"^\s|\s// |/\*|\*/", data, re.MULTILINE), path


ADDRESSES = {
    b"http://www.w3.org/2000/svg",  # the namespace of SVG elements
    b"https://doi.org/10.23915/distill.00012",  # a link to the article on the method
    b"https://microscope.openai.com/models/inceptionv1/",  # a link to the same neuron elsewhere
}


def test_no_file_names_another_host(manifest: Manifest) -> None:
    """Published files have exactly these addresses, of which none is loaded."""
    found = set()
    for path, data in pages(manifest).items():
        found |= set(re.findall(rb"https?://[^\"' ]+", data))
        assert not re.search(rb"(src|href)=\"//", data), path
    assert found == ADDRESSES


def about(manifest: Manifest) -> str:
    """Return the HTML of the page about the atlas, which a script puts into its element."""
    scripts = joined(pages(manifest), ".js")
    [html] = re.findall(r'^isthmus[.]html\("about",(.*)\);$', scripts, re.MULTILINE)
    return str(json.loads(html))


def test_the_page_names_all_shapes_of_strips(manifest: Manifest) -> None:
    """If settings differ in frames, size or steps, the page names each combination."""
    shapes = "3 frames of 64 px, 64 steps or 4 frames of 32 px, 8 steps"

    assert shapes in about(manifest)


def test_a_page_of_an_atlas_without_spec_says_so(manifest: Manifest) -> None:
    """With a spec the page shows it; without one the page says so."""
    without = about(manifest)
    with_spec = about(manifest.model_copy(update={"spec": {"name": "small", "model": None}}))

    assert "The spec was not kept" in without
    assert "isthmus build atlas.yaml" in with_spec
    assert "name: small\n</pre>" in with_spec


def test_every_setting_is_explained_on_the_page_about_the_atlas(manifest: Manifest) -> None:
    """The script of that page has an explanation for each setting of a render, and for no other name."""
    [script] = [data.decode() for path, data in pages(manifest).items() if path.startswith("assets/about-")]

    [explanations] = re.findall(r"SETTINGS=\{(.*?)\};", script, re.DOTALL)
    assert re.findall(r'([a-z_]+):"', explanations) == sorted(RenderSettings.model_fields)
    [alignment] = re.findall(r'alignment:"(.*?)",', explanations)
    assert {key for key in Alignment.model_fields if f"{key}: " not in alignment} == {"layers"}  # the subject itself
