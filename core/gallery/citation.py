"""Citations of an atlas and of the method behind it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from core.errors import counted

if TYPE_CHECKING:
    from core.atlas.manifest import Manifest

_METHOD = """\
A. Mordvintsev, N. Pezzotti, L. Schubert and C. Olah,
"Differentiable Image Parameterizations", Distill, 2018. doi:10.23915/distill.00012"""
_METHOD_BIBTEX = """\
@article{mordvintsev2018differentiable,
  author = {Mordvintsev, Alexander and Pezzotti, Nicola and Schubert, Ludwig and Olah, Chris},
  title = {Differentiable Image Parameterizations},
  journal = {Distill},
  year = {2018},
  doi = {10.23915/distill.00012}
}"""
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "{}$&#_%"},
}


class Citation(NamedTuple):
    """The citation of an atlas and of the method, as plain text and as BibTeX."""

    text: str
    bibtex: str


def citation(manifest: Manifest) -> Citation:
    """Return how to cite an atlas: its name, model, weights, number of pairs and version of Isthmus."""
    isthmus = ", ".join(sorted({versions.get("isthmus", "unknown") for versions in manifest.versions}) or ["unknown"])
    title = f"{manifest.name}: an atlas of interpolations between neurons of {manifest.model}"
    weights = f"weights with digest {manifest.model_digest}"
    land = f", a land of {counted(manifest.land.neurons, 'neuron')}" if manifest.land else ""
    pairs = counted(manifest.counts.done, "pair") + land
    text = f"{title}\n({weights}),\n{pairs}, rendered with Isthmus {isthmus}.\n\nThe method: {_METHOD}"
    label = re.sub(r"[^A-Za-z0-9]+", "-", manifest.name).strip("-") or "atlas"
    bibtex = (
        f"@misc{{isthmus-{label},\n"
        f"  title = {{{_in_latex(title)}}},\n"
        f"  howpublished = {{Rendered with Isthmus {_in_latex(isthmus)}}},\n"
        f"  note = {{{pairs}, {_in_latex(weights)}}}\n"
        f"}}\n\n{_METHOD_BIBTEX}"
    )
    return Citation(text, bibtex)


def _in_latex(text: str) -> str:
    """Return a text in one line without signs that LaTeX reads as commands."""
    return "".join(_LATEX.get(sign, sign) for sign in " ".join(text.split()))
