"""Figures for papers: what ``iit.plot`` draws, drawn by matplotlib, without a browser.

Each glyph of Bokeh has a function here that draws it; ``iit.plot.static`` asks them in turn.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from io import BytesIO
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from textwrap import fill
from typing import IO, Any

import numpy as np
from bokeh.models import ColorBar as BokehColorBar
from bokeh.models import (
    CustomJSTickFormatter,
    FactorRange,
    FixedTicker,
    IndexFilter,
    Legend,
    LogColorMapper,
    Range1d,
)
from bokeh.plotting import figure

from iitdask.errors import InputError
from iitdask.result.cube import replaced_file
from iitdask.types import Array
from iitdask.view import pages

PIXELS_PER_INCH, POINTS_PER_PIXEL = 96, 0.75
MARGIN_INCHES = 0.75  # Around a frame, for titles and axes
CAPTION_POINTS, CAPTION_INCHES = 8, 0.16  # Size of the letters of a caption, height of its lines
LEGEND_MARK_INCHES, LEGEND_LETTER_INCHES = 0.45, 0.062  # Widths within an entry of a legend
MARKERS = {
    "circle": "o", "square": "s", "triangle": "^", "inverted_triangle": "v", "x": "x",
    "diamond": "D", "cross": "+",
}  # fmt: skip
BASELINES = {"middle": "center", "top": "top", "bottom": "bottom", "alphabetic": "baseline"}
MIN_DASH_PIXELS = 4  # Below, a dash is a dot
DASHES = {"solid": "solid", "dashed": "dashed", "dotted": "dotted"}


class _Glyph:
    """A renderer of Bokeh and its values, row by row."""

    def __init__(self, renderer: Any, ranges: dict[str, list[str]]) -> None:
        self.glyph, self.data = renderer.glyph, renderer.data_source.data
        self._rows = _shown_rows(renderer, self.data)
        self._ranges = ranges  # factors of categorical axes, by axis

    def __len__(self) -> int:
        return len(self._rows)

    def raw(self, name: str) -> list[Any]:
        """Return the values of a property, one for each row that is shown."""
        value = getattr(self.glyph, name, None)
        field = getattr(value, "field", value)
        is_marker = name == "marker" and field in MARKERS  # also where a column is called "x"
        if isinstance(field, str) and field in self.data and not is_marker:
            column = self.data[field]
            values = [column[k] for k in self._rows]
            mapper = getattr(value, "transform", None)
            return values if mapper is None else _mapped(mapper, np.array(values, float))
        return [getattr(value, "value", value)] * len(self._rows)

    def numbers(self, name: str) -> Array:
        """Return places along an axis, or other numbers; of an axis of names, their positions."""
        values = self.raw(name)
        factors = self._ranges.get(name[0], [])
        if factors and values and isinstance(values[0], str):
            values = [factors.index(each) for each in values]
        return np.array([np.nan if each is None else each for each in values], float)

    def colours(self, kind: str) -> list[Any]:
        """Return the colour of each row with its opacity; none where nothing is drawn."""
        from matplotlib.colors import to_rgba  # noqa: PLC0415 only figures for papers need it

        colours, alphas = self.raw(f"{kind}_color"), self.raw(f"{kind}_alpha")
        pairs = zip(colours, alphas, strict=True)
        return ["none" if c is None else to_rgba(c, float(a)) for c, a in pairs]

    def area_style(self) -> dict[str, Any]:
        """Return colours and line widths of areas."""
        widths = self.numbers("line_width") * POINTS_PER_PIXEL
        return {
            "facecolor": self.colours("fill"), "edgecolor": self.colours("line"),
            "linewidth": widths,
        }  # fmt: skip

    @property
    def dash(self) -> str:
        """Style of the lines."""
        dash = getattr(self.glyph.line_dash, "value", self.glyph.line_dash)
        if isinstance(dash, str):
            return DASHES.get(dash, "solid")
        return "solid" if not dash else "dotted" if dash[0] < MIN_DASH_PIXELS else "dashed"


def _shown_rows(renderer: Any, data: Any) -> list[int]:
    count = len(next(iter(data.values()), []))
    chosen = renderer.view.filter
    return list(chosen.indices or []) if isinstance(chosen, IndexFilter) else list(range(count))


def _mapped(mapper: Any, values: Array) -> list[str]:
    """Return the colours of numbers."""
    palette = list(mapper.palette)
    low, high = float(mapper.low), float(mapper.high)
    with np.errstate(divide="ignore", invalid="ignore"):
        if isinstance(mapper, LogColorMapper):
            at = (np.log(values) - np.log(low)) / (np.log(high) - np.log(low))
        else:
            at = (values - low) / ((high - low) or 1.0)
    below = getattr(mapper, "low_color", None)
    out = []
    for value, share in zip(values.tolist(), at.tolist(), strict=True):
        if np.isnan(value):
            out.append(mapper.nan_color)
        elif below is not None and value < low:
            out.append(below)
        else:
            out.append(palette[int(np.clip(share, 0, 1 - 1e-9) * len(palette))])
    return out


def _draw_scatter(axes: Any, g: _Glyph, order: int) -> None:
    from matplotlib.markers import MarkerStyle  # noqa: PLC0415
    from matplotlib.transforms import Affine2D  # noqa: PLC0415

    x, y, sizes = g.numbers("x"), g.numbers("y"), g.numbers("size") * POINTS_PER_PIXEL
    fills, lines, widths = g.colours("fill"), g.colours("line"), g.numbers("line_width")
    angles = g.numbers("angle").tolist()
    kinds = zip((MARKERS.get(marker, "o") for marker in g.raw("marker")), angles, strict=True)
    for (shape, angle), rows in groupby(enumerate(kinds), key=itemgetter(1)):  # a call takes long
        at = [k for k, _ in rows if np.isfinite(x[k] + y[k])]
        style = MarkerStyle(shape, transform=Affine2D().rotate(angle)) if angle else shape
        edges = [lines[k] for k in at]
        is_open = shape in ("x", "+")
        look = {"color": edges} if is_open else {"facecolor": [fills[k] for k in at]}
        look |= {} if is_open else {"edgecolor": edges}
        axes.scatter(
            x[at], y[at], s=sizes[at] ** 2, marker=style, zorder=order,
            linewidth=widths[at] * POINTS_PER_PIXEL, **look,
        )  # fmt: skip


def _draw_line(axes: Any, g: _Glyph, order: int) -> None:
    colour = g.colours("line")
    if len(g):
        axes.plot(
            g.numbers("x"), g.numbers("y"), color=colour[0], linestyle=g.dash, zorder=order,
            linewidth=g.numbers("line_width")[0] * POINTS_PER_PIXEL,
        )  # fmt: skip


def _draw_multi_line(axes: Any, g: _Glyph, order: int) -> None:
    rows = zip(g.raw("xs"), g.raw("ys"), g.colours("line"), g.numbers("line_width"), strict=True)
    for xs, ys, colour, width in rows:
        axes.plot(
            xs, ys, color=colour, linewidth=width * POINTS_PER_PIXEL, linestyle=g.dash,
            zorder=order, solid_capstyle="round",
        )  # fmt: skip


def _draw_segment(axes: Any, g: _Glyph, order: int) -> None:
    places = (g.numbers(name) for name in ("x0", "x1", "y0", "y1"))
    rows = zip(*places, g.colours("line"), g.numbers("line_width"), strict=True)
    for x0, x1, y0, y1, colour, width in rows:
        axes.plot(
            [x0, x1], [y0, y1], color=colour, linewidth=width * POINTS_PER_PIXEL,
            linestyle=g.dash, zorder=order,
        )  # fmt: skip


def _draw_quadratic(axes: Any, g: _Glyph, order: int) -> None:
    from matplotlib.patches import PathPatch  # noqa: PLC0415
    from matplotlib.path import Path as Curve  # noqa: PLC0415

    places = np.stack([g.numbers(name) for name in ("x0", "y0", "cx", "cy", "x1", "y1")], axis=1)
    codes = [Curve.MOVETO, Curve.CURVE3, Curve.CURVE3]
    rows = zip(places.reshape(-1, 3, 2), g.colours("line"), g.numbers("line_width"), strict=True)
    for points, colour, width in rows:
        look = {"edgecolor": colour, "linewidth": width * POINTS_PER_PIXEL, "zorder": order}
        axes.add_patch(PathPatch(Curve(points, codes), facecolor="none", **look))


def _draw_text(axes: Any, g: _Glyph, order: int) -> None:
    x, y, angles = g.numbers("x"), g.numbers("y"), g.numbers("angle")
    shift = [g.numbers(name) * POINTS_PER_PIXEL for name in ("x_offset", "y_offset")]
    looks = [g.raw(f"text_{n}") for n in ("align", "baseline", "font_size", "font_style")]
    rows = zip(g.raw("text"), g.colours("text"), *looks, strict=True)
    behind = g.colours("background_fill")
    for k, (text, colour, align, baseline, size, style) in enumerate(rows):
        if str(text):
            box = {"facecolor": behind[k], "edgecolor": "none", "pad": 0.6}
            axes.annotate(
                str(text).replace("$", r"\$"), (x[k], y[k]), (shift[0][k], -shift[1][k]),
                textcoords="offset points", color=colour, ha=align,
                va=BASELINES.get(baseline, "center"), rotation=np.degrees(angles[k]),
                rotation_mode="anchor", fontsize=float(size.removesuffix("px")) * POINTS_PER_PIXEL,
                fontweight="bold" if style == "bold" else "normal", zorder=order,
                annotation_clip=False, linespacing=1.0, bbox=None if behind[k] == "none" else box,
            )  # fmt: skip


def _patches_of(axes: Any, g: _Glyph, order: int, make: Callable[[int], Any]) -> None:
    """Add a shape for each row that is seen."""
    look = g.area_style()
    for k in range(len(g)):
        colours = (look["facecolor"][k], look["edgecolor"][k])
        if any(c != "none" and c[3] > 0 for c in colours):
            shape = make(k)
            shape.set(facecolor=colours[0], edgecolor=colours[1], zorder=order)
            shape.set_linewidth(look["linewidth"][k])
            axes.add_patch(shape)


def _draw_circle(axes: Any, g: _Glyph, order: int) -> None:
    from matplotlib.patches import Circle  # noqa: PLC0415

    x, y, radius = g.numbers("x"), g.numbers("y"), g.numbers("radius")
    _patches_of(axes, g, order, lambda k: Circle((x[k], y[k]), radius[k]))


def _draw_annulus(axes: Any, g: _Glyph, order: int) -> None:
    from matplotlib.patches import Wedge  # noqa: PLC0415

    x, y = g.numbers("x"), g.numbers("y")
    inner, outer = g.numbers("inner_radius"), g.numbers("outer_radius")
    begin, end = np.zeros(len(g)), np.full(len(g), 360.0)
    if hasattr(g.glyph, "start_angle"):
        begin, end = (np.degrees(g.numbers(f"{name}_angle")) for name in ("start", "end"))
    _patches_of(
        axes, g, order,
        lambda k: Wedge((x[k], y[k]), outer[k], begin[k], end[k], width=outer[k] - inner[k]),
    )  # fmt: skip


def _draw_patches(axes: Any, g: _Glyph, order: int) -> None:
    from matplotlib.patches import Polygon  # noqa: PLC0415

    xs, ys = g.raw("xs"), g.raw("ys")
    _patches_of(axes, g, order, lambda k: Polygon(np.column_stack([xs[k], ys[k]])))


def _draw_boxes(axes: Any, g: _Glyph, order: int) -> None:
    """Draw rectangles, however the glyph gives their sides."""
    from matplotlib.patches import Rectangle  # noqa: PLC0415

    names = type(g.glyph).__name__
    if names == "Quad":
        left, right, bottom, top = (g.numbers(n) for n in ("left", "right", "bottom", "top"))
    elif names == "HBar":
        y, half = g.numbers("y"), g.numbers("height") / 2
        left, right, bottom, top = g.numbers("left"), g.numbers("right"), y - half, y + half
    else:
        x, half = g.numbers("x"), g.numbers("width") / 2
        left, right = x - half, x + half
        if names == "VBar":
            bottom, top = g.numbers("bottom"), g.numbers("top")
        else:
            y, tall = g.numbers("y"), g.numbers("height") / 2
            bottom, top = y - tall, y + tall
    _patches_of(
        axes, g, order,
        lambda k: Rectangle((left[k], bottom[k]), right[k] - left[k], top[k] - bottom[k]),
    )  # fmt: skip


def _draw_image(axes: Any, g: _Glyph, order: int) -> None:
    from matplotlib.colors import to_rgba  # noqa: PLC0415

    for k, image in enumerate(g.raw("image")):
        values = np.asarray(image, float)
        colours = _mapped(g.glyph.color_mapper, values.ravel())
        pixels = np.array([_rgba(each, to_rgba) for each in colours]).reshape(*values.shape, 4)
        x, y, wide, tall = (g.numbers(name)[k] for name in ("x", "y", "dw", "dh"))
        axes.imshow(
            pixels, extent=(x, x + wide, y, y + tall), origin="lower", aspect="auto",
            interpolation="nearest", zorder=order,
        )  # fmt: skip


def _rgba(colour: str, parse: Callable[[str], Any]) -> tuple[float, ...]:
    """Return a colour as matplotlib takes it, also where it is written ``rgba(r, g, b, a)``."""
    if colour.startswith("rgba("):
        r, g, b, a = (float(each) for each in colour[5:-1].split(","))
        return (r / 255, g / 255, b / 255, a)
    return tuple(parse(colour))


DRAWERS: dict[str, Callable[[Any, _Glyph, int], None]] = {
    "Scatter": _draw_scatter, "Line": _draw_line, "MultiLine": _draw_multi_line,
    "Segment": _draw_segment, "Text": _draw_text, "Circle": _draw_circle,
    "Annulus": _draw_annulus, "AnnularWedge": _draw_annulus, "Patches": _draw_patches,
    "Rect": _draw_boxes, "Quad": _draw_boxes, "VBar": _draw_boxes, "HBar": _draw_boxes,
    "Image": _draw_image, "Quadratic": _draw_quadratic,
}  # fmt: skip
"""What draws each kind of glyph."""


def matplotlib_figure(fig: figure, caption: str, width: float | None = None) -> Any:
    """Return a figure of Bokeh as one of matplotlib.

    Parameters
    ----------
    fig : figure
        What a function of ``iit.plot`` drew.
    caption : str
        Text below it; "" for none.
    width : float, optional
        Inches; as wide as on a page when not given.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise InputError(
            "plot.static: expected matplotlib, which is not installed: "
            "pip install 'iitdask[figures]'"
        ) from error
    wide, tall = _size(fig)
    scale = 1.0 if width is None else width / wide
    lines = fill(caption, max(20, int(wide * 15))).splitlines() if caption else []
    height = tall + CAPTION_INCHES * (len(lines) + 1) * bool(lines)
    made = Figure(figsize=(wide * scale, height * scale), layout="constrained")
    holder: Any = made
    below: Any = None
    if lines:
        parts: Any = made.subfigures(2, 1, height_ratios=[tall, height - tall])
        holder, below = parts
    _fill_axes(holder.subplots(), holder, fig)
    if below is not None:
        below.text(
            0.02, 0.98, "\n".join(lines), fontsize=CAPTION_POINTS * scale, va="top",
            color=pages.INK,
        )  # fmt: skip
    if scale != 1.0:
        _scale_texts(made, scale)
    return made


def _size(fig: figure) -> tuple[float, float]:
    """Return width and height in inches."""
    if fig.frame_width:
        wide, tall = fig.frame_width / PIXELS_PER_INCH, fig.frame_height / PIXELS_PER_INCH
        margin = MARGIN_INCHES if fig.xaxis[0].visible else MARGIN_INCHES / 3
        return wide + margin, tall + margin
    return fig.width / PIXELS_PER_INCH, fig.height / PIXELS_PER_INCH


def _scale_texts(made: Any, scale: float) -> None:
    """Let letters and lines shrink or grow with the figure."""
    for each in made.findobj(lambda part: hasattr(part, "set_fontsize")):
        each.set_fontsize(each.get_fontsize() * scale)
    for each in made.findobj(lambda part: hasattr(part, "set_linewidth")):
        each.set_linewidth(np.multiply(each.get_linewidth(), scale))
    for each in made.findobj(lambda part: hasattr(part, "set_sizes")):
        each.set_sizes(np.multiply(each.get_sizes(), scale**2))


def _fill_axes(axes: Any, holder: Any, fig: figure) -> None:
    axes.set_title(fig.title.text, fontsize=10, fontweight="bold", loc="left", color=pages.INK)
    factors = {
        name: list(chosen.factors)
        for name, chosen in (("x", fig.x_range), ("y", fig.y_range))
        if isinstance(chosen, FactorRange)
    }
    for order, renderer in enumerate(fig.renderers, 2):
        kind = type(renderer.glyph).__name__
        if renderer.visible:
            DRAWERS[kind](axes, _Glyph(renderer, factors), order)
    _set_ranges(axes, fig, factors)
    _set_axes(axes, fig, factors)
    for part in fig.right:
        if isinstance(part, BokehColorBar):
            _add_colour_bar(axes, holder, part)
    for legend in (part for part in [*fig.below, *fig.center] if isinstance(part, Legend)):
        _add_legend(holder, legend, _size(fig)[0])


def _set_ranges(axes: Any, fig: figure, factors: dict[str, list[str]]) -> None:
    axes.autoscale_view()
    for name, chosen in (("x", fig.x_range), ("y", fig.y_range)):
        limits = getattr(axes, f"set_{name}lim")
        if name in factors:
            limits(-0.5, len(factors[name]) - 0.5)
        elif isinstance(chosen, Range1d):
            limits(chosen.start, chosen.end)
        elif isinstance(chosen.start, int | float) and np.isfinite(chosen.start):
            limits(chosen.start, None)
    if type(fig.y_scale).__name__ == "LogScale":
        axes.set_yscale("log")
    if fig.frame_width and fig.frame_width == fig.frame_height:
        axes.set_box_aspect(1)


def _set_axes(axes: Any, fig: figure, factors: dict[str, list[str]]) -> None:
    """Set what stands along the axes, and hide axes that mean nothing."""
    for spine in axes.spines.values():
        spine.set_color(pages.FAINT)
    if fig.grid[0].visible:
        axes.grid(color=pages.GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, colors=pages.INK)
    for name, axis in (("x", fig.xaxis[0]), ("y", fig.yaxis[0])):
        own = getattr(axes, f"{name}axis")
        own.set_visible(bool(axis.visible))
        own.set_label_text(axis.axis_label or "", fontsize=9, color=pages.INK)
        ticks: list[float] = list(range(len(factors.get(name, []))))
        labels = factors.get(name, [])
        if isinstance(axis.ticker, FixedTicker):
            ticks = list(axis.ticker.ticks)
            named = axis.major_label_overrides
            labels = [str(named.get(tick, f"{tick:g}")) for tick in ticks]
            if isinstance(axis.formatter, CustomJSTickFormatter):
                names = axis.formatter.args["names"]
                labels = [names[int(np.floor(tick))] for tick in ticks]
        elif getattr(axis.ticker, "min_interval", None) == 1:
            own.get_major_locator().set_params(integer=True)
        if ticks:
            turned = isinstance(axis.major_label_orientation, int | float)
            size = float(axis.major_label_text_font_size.removesuffix("px")) * POINTS_PER_PIXEL
            angle = np.degrees(axis.major_label_orientation) if turned else 0
            own.set_ticks(ticks, labels, rotation=angle, fontsize=min(8.0, size))


def _add_colour_bar(axes: Any, holder: Any, bar: Any) -> None:
    from matplotlib.cm import ScalarMappable  # noqa: PLC0415
    from matplotlib.colors import ListedColormap, LogNorm, Normalize  # noqa: PLC0415

    mapper = bar.color_mapper
    norm = LogNorm if isinstance(mapper, LogColorMapper) else Normalize
    colours = ScalarMappable(norm(mapper.low, mapper.high), ListedColormap(list(mapper.palette)))
    made = holder.colorbar(colours, ax=axes, fraction=0.04, pad=0.02)
    made.set_label(bar.title or "", fontsize=8)
    made.ax.tick_params(labelsize=8)


def _add_legend(holder: Any, legend: Legend, inches: float) -> None:
    """Add what a legend says below a figure so wide, each entry by the first glyph it names."""
    from matplotlib.lines import Line2D  # noqa: PLC0415

    handles = []
    for item in legend.items:
        renderer = item.renderers[0]
        glyph = renderer.glyph
        label = getattr(item.label, "value", item.label)
        g = _Glyph(renderer, {})
        is_line = not hasattr(glyph, "fill_color")
        edge = (g.colours("line") or [pages.INK])[0]
        face = edge if is_line else (g.colours("fill") or [pages.INK])[0]
        marker = MARKERS.get((g.raw("marker") or ["circle"])[0] or "square", "s")
        look: dict[str, Any] = {"linestyle": g.dash, "color": edge}
        if not is_line:
            look = {
                "linestyle": "none", "marker": marker, "markerfacecolor": face,
                "markeredgecolor": edge, "markersize": 6,
            }  # fmt: skip
        handles.append(Line2D([], [], label=label, **look))
    if handles:
        longest = max(len(str(handle.get_label())) for handle in handles)
        columns = int(inches / (LEGEND_MARK_INCHES + LEGEND_LETTER_INCHES * longest))
        holder.legend(
            handles=handles, fontsize=7.5, frameon=False, loc="outside lower center",
            ncols=max(1, min(len(handles), columns)),
        )  # fmt: skip


FILE_KINDS = {".png": "png", ".svg": "svg", ".pdf": "pdf"}
DESCRIPTION_KEYS = {"png": "Description", "svg": "Description", "pdf": "Subject"}
"""Where a kind of file keeps what it shows."""


def save(made: Any, path: str | os.PathLike[str], caption: str) -> None:
    """Write a figure of matplotlib to a file, with its caption among the metadata."""
    kind = FILE_KINDS.get(Path(path).suffix.lower())
    if kind is None:
        raise InputError(
            f"plot.static: expected a file ending in {', '.join(FILE_KINDS)}, got {path}"
        )
    with replaced_file(path) as partial, partial.open("wb") as out:
        _write(made, out, kind, caption)


def svg_text(made: Any, caption: str) -> str:
    """Return a figure of matplotlib as SVG."""
    out = BytesIO()
    _write(made, out, "svg", caption)
    return out.getvalue().decode()


def _write(made: Any, out: IO[bytes], kind: str, caption: str) -> None:
    import matplotlib as mpl  # noqa: PLC0415

    metadata: dict[str, Any] = {DESCRIPTION_KEYS[kind]: caption}
    if kind == "svg":
        metadata["Date"] = None  # the same result gives the same file
    elif kind == "pdf":
        metadata["CreationDate"] = None
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "iitdask", "pdf.fonttype": 42}):
        made.savefig(out, format=kind, dpi=300, metadata=metadata)
