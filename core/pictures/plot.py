"""Plots: a strip above its trade-off curve and the history of its objective."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from core.arrays import Array, Pixels
from core.errors import counted

Floats = NDArray[np.float64]

_PAPER, _INK, _FAINT, _LINE = (255, 255, 255), (27, 28, 29), (92, 95, 98), (216, 217, 215)
_COLORS = ((11, 87, 208), (179, 86, 0))  # of the first and the second curve of a panel
_MARGIN, _PANEL_PX, _TITLE_PX = 56, 150, 26
_FONT = ImageFont.load_default(12)


def plot_strip(sheet: Pixels, names: tuple[str, str], activations: tuple[Array, Array], objective: Array) -> Pixels:
    """Draw a strip above the trade-off curve and the objective's history.

    Args:
        sheet: shape (height, frame * width, 3), uint8.
        names: names of neuron a and neuron b.
        activations: activations of a and of b on every frame, each of shape (frame,); each value is drawn under the
            middle of its frame.
        objective: history of the objective on the transformed frames, shape (update,).

    Returns:
        the picture, shape (height, width, 3), uint8.
    """
    height, width = sheet.shape[:2]
    panel = _TITLE_PX + _PANEL_PX + _TITLE_PX
    picture = Image.new("RGB", (width + 2 * _MARGIN, height + _MARGIN + 2 * panel), _PAPER)
    picture.paste(Image.fromarray(sheet), (_MARGIN, _MARGIN // 2))
    draw = ImageDraw.Draw(picture)
    top = height + _MARGIN // 2 + 12

    frames = len(activations[0])
    middles = _MARGIN + (np.arange(frames) + 0.5) * width / frames
    title = "mean activation per frame:  "
    _panel(draw, top, width, title, [(middles, curve) for curve in activations])
    x = _MARGIN + draw.textlength(title, _FONT)
    for name, color in zip(names, _COLORS, strict=True):
        draw.text((x, top), name, color, _FONT)
        x += draw.textlength(name + "   ", _FONT)

    updates = _MARGIN + np.linspace(0, width, len(objective))
    title = f"objective on the transformed frames, {counted(len(objective), 'update')}, last {objective[-1]:.2f}"
    _panel(draw, top + panel, width, title, [(updates, objective)])
    return np.asarray(picture)


def _panel(
    draw: ImageDraw.ImageDraw, top: int, width: int, title: str, curves: Sequence[tuple[Floats, NDArray[Any]]]
) -> None:
    """Draw one panel: a title, the curves (x in pixels, y scaled to the panel) and the range of y at the left."""
    low, high = min(float(y.min()) for _, y in curves), max(float(y.max()) for _, y in curves)
    bottom = top + _TITLE_PX + _PANEL_PX
    draw.text((_MARGIN, top), title, _INK, _FONT, anchor="la")
    draw.line([(_MARGIN, bottom), (_MARGIN + width, bottom)], _LINE)
    draw.line([(_MARGIN, top + _TITLE_PX), (_MARGIN + width, top + _TITLE_PX)], _LINE)
    draw.text((_MARGIN - 6, top + _TITLE_PX), f"{high:.3g}", _FAINT, _FONT, anchor="rm")
    draw.text((_MARGIN - 6, bottom), f"{low:.3g}", _FAINT, _FONT, anchor="rm")
    for (x, curve), color in zip(curves, _COLORS, strict=False):
        y = bottom - (curve - low) / max(high - low, 1e-12) * _PANEL_PX
        draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), color, width=2, joint="curve")
