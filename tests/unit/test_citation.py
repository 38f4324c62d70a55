"""How to cite an atlas."""

from __future__ import annotations

from pathlib import Path

from sample_records import RECORDS, atlas

from core.gallery.citation import citation
from core.gallery.publish import publish


def test_a_citation_names_what_a_reader_needs_to_find_the_atlas_again(tmp_path: Path) -> None:
    """Name, model, digest of the weights, pairs and version of Isthmus, and the article with its DOI."""
    manifest = publish(atlas(tmp_path, RECORDS), "small")
    text, bibtex = citation(manifest)

    [isthmus] = {versions["isthmus"] for versions in manifest.versions}
    facts = ("small", manifest.model, manifest.model_digest, f"{manifest.counts.done} pairs", f"Isthmus {isthmus}")
    for fact in (*facts, "Differentiable Image Parameterizations", "10.23915/distill.00012", "2018"):
        assert fact in text
        assert fact in bibtex


def test_no_name_breaks_the_bibtex(tmp_path: Path) -> None:
    """Signs that LaTeX reads as commands are escaped; the label of the entry has letters, digits and hyphens only."""
    manifest = publish(atlas(tmp_path, RECORDS), "small")
    name = "50% of\nR&D_{x}, ~^ \\input, $#"
    bibtex = citation(manifest.model_copy(update={"name": name})).bibtex

    assert bibtex.startswith("@misc{isthmus-50-of-R-D-x-input,\n")
    signs = r"\textasciitilde{}\textasciicircum{} \textbackslash{}input, \$\#"
    assert rf"title = {{50\% of R\&D\_\{{x\}}, {signs}: an atlas" in bibtex
    assert bibtex.replace(r"\{", "").replace(r"\}", "").count("{") == bibtex.replace(r"\{", "").replace(
        r"\}", ""
    ).count("}")
