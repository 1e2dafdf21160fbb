"""Colours, fonts and sizes, once; the colours are told apart by colour-blind people too."""

from __future__ import annotations

from typing import Any

from bokeh.models import GlyphRenderer, Legend
from bokeh.plotting import figure

__all__ = [
    "CAUSE",
    "EFFECT",
    "FAINT",
    "GROUPS",
    "INK",
    "MECHANISM",
    "MUTED",
    "PHI",
    "RELATION",
    "SIDES",
    "TOOLS",
    "legend_below",
    "legible_on",
    "plot",
]

# Okabe and Ito's palette; cause and effect differ in position or shape as well.
CAUSE, EFFECT, RELATION = "#D55E00", "#0072B2", "#AA3377"
MECHANISM, INK, MUTED, FAINT = "#000000", "#222222", "#6B6B6B", "#D9D9D9"
SIDES = {"cause": CAUSE, "effect": EFFECT}
PHI = "Cividis256"
GROUPS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
TOOLS = "pan,wheel_zoom,box_zoom,tap,reset,save"


def plot(title: str, x: str = "", y: str = "", **options: Any) -> figure:
    """Make an empty figure in the house's dress; `x` and `y` are axis labels with units."""
    given = {"tools": TOOLS, "toolbar_location": "right", **options}
    fig = figure(title=title, x_axis_label=x, y_axis_label=y, **given)
    fig.toolbar.logo = None  # it is a link that leaves the page
    fig.toolbar.active_scroll = None
    fig.title.text_font_size = "13px"
    fig.title.text_color = INK
    fig.outline_line_color = FAINT
    fig.background_fill_color = "white"
    for axis in fig.axis:
        axis.axis_label_text_font_size = "12px"
        axis.axis_label_text_font_style = "normal"
        axis.major_label_text_font_size = "11px"
        axis.axis_label_text_color = axis.major_label_text_color = INK
    for grid in fig.grid:
        grid.grid_line_color = "#EEEEEE"
    return fig


def legible_on(colour: str) -> str:
    """Choose white or ink, whichever stands out more on ``#RRGGBB``.

    Examples
    --------
    >>> legible_on("#323232"), legible_on("#F0E442")
    ('white', '#222222')
    """
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    # Relative luminance, as the guidelines for accessible pages (WCAG 2) have it.
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "white" if 1.05 / (light + 0.05) > (light + 0.05) / 0.066 else INK


def legend_below(fig: figure, entries: list[tuple[str, list[GlyphRenderer]]]) -> None:
    """Put a legend under a figure; a click hides what it names."""
    legend = Legend(items=entries, orientation="horizontal", click_policy="hide")
    legend.label_text_font_size = "11px"
    legend.border_line_color = None
    legend.spacing, legend.margin, legend.padding = 12, 0, 2
    fig.add_layout(legend, "below")
