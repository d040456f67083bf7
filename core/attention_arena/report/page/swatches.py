"""A variant's colour and marker as a symbol that a page uses wherever it names the variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from attention_arena.report.figures.style import looks

COMMANDS = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}
"""Codes of matplotlib's paths, as SVG writes them."""
SIDE = 1.5
"""Half the side of a symbol's view, in which a marker is about two wide."""


def swatches(labels: Sequence[str]) -> tuple[Markup, Mapping[str, str]]:
    """Return an `<svg>` that holds a symbol for each label, and the name of each label's symbol."""
    symbols = []
    names = {}
    for index, (label, look) in enumerate(looks(labels).items()):
        names[label] = f"look-{index}"
        symbols.append(
            f'<symbol id="look-{index}" viewBox="{-SIDE} {-SIDE} {2 * SIDE} {2 * SIDE}">'
            f'<path d="{escape(marker_path(look.marker))}" fill="{look.colour}"/></symbol>'
        )
    return Markup(f'<svg class="shared" width="0" height="0" aria-hidden="true">{"".join(symbols)}</svg>'), names


def marker_path(marker: str) -> str:
    """Return a marker of matplotlib as the path of an SVG, about its middle and about two wide."""
    from matplotlib.markers import MarkerStyle

    style = MarkerStyle(marker)
    path = style.get_path().transformed(style.get_transform())
    widest = max(abs(float(each)) for each in path.get_extents().extents)
    parts = []
    for vertices, code in path.iter_segments(simplify=False):
        # SVG counts downwards.
        places = [] if code == 79 else [f"{each * (-1) ** (i % 2) / widest:.2f}" for i, each in enumerate(vertices)]
        parts.append(COMMANDS[int(code)] + " ".join(places))
    return "".join(parts)
