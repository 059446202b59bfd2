"""How figures look: in print at the width of a column, without colour, and to those who see colours otherwise."""

from __future__ import annotations

import io
import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("svg", "pdf", "png")
"""What a figure can be written as, by the suffix of its file."""
GREY = "#8a8a8a"
LINES: tuple[tuple[str, Any], ...] = (
    ("#0b3c5d", "-"),
    ("#d55e00", "--"),
    ("#009e73", "-."),
    ("#cc79a7", ":"),
    ("#56b4e9", (0, (6, 1, 1, 1, 1, 1))),
    ("#b8860b", (0, (1, 2))),
)
"""Colours (Okabe and Ito's, and darker ones) with the dashes that tell them apart in print; as many as can be told."""
_DOTS = 300
# Text stays text, and the same figure has the same bytes.
_FILES: dict[Any, Any] = {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "maspo-dsl"}


def style(size: float) -> dict[Any, Any]:
    """Settings of matplotlib for text of a size in points."""
    return {
        "font.size": size,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": size,
        "axes.titlelocation": "left",
        "legend.fontsize": size,
        "legend.frameon": False,
    }


def svg_text(figure: Figure) -> str:
    """The figure as one `<svg>` element; a tenth of a point is exact enough for a path."""
    text = _bytes(figure, "svg").decode()
    return re.sub(
        r' d="[^"]*"', lambda path: re.sub(r"(\d\.\d)\d+", r"\1", path[0]), text[text.index("<svg") :]
    )


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """The content of a file of one of FORMATS."""
    if kind == "svg":
        return b'<?xml version="1.0" encoding="utf-8"?>\n' + svg_text(figure).encode()
    return _bytes(figure, kind)


def kind_of(path: PurePath) -> str:
    """The format that a file's suffix means. Raises ValueError that says what is possible."""
    kind = path.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        known = ", ".join(f".{each}" for each in FORMATS)
        raise ValueError(f"`{path}` has no suffix of a picture: expected one of {known}")
    return kind


def _bytes(figure: Figure, kind: str) -> bytes:
    import matplotlib as mpl

    buffer = io.BytesIO()
    dates: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
    with mpl.rc_context(_FILES):
        figure.savefig(buffer, format=kind, dpi=_DOTS, metadata=dates[kind])
    return buffer.getvalue()
