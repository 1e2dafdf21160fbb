"""Colours of all figures and pages.

The page of every view: template, light and dark theme, grid, tables, and its server.
"""

from __future__ import annotations

import asyncio
import socket
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache
from html import escape
from importlib.resources import files
from threading import Thread
from typing import Any, NamedTuple

import numpy as np
from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.events import DocumentReady
from bokeh.layouts import column
from bokeh.models import (
    Axis,
    Button,
    CDSView,
    ColorBar,
    ColumnDataSource,
    CustomAction,
    CustomJS,
    CustomJSFilter,
    DataTable,
    Div,
    Glyph,
    GlyphRenderer,
    Grid,
    HoverTool,
    HTMLTemplateFormatter,
    Legend,
    NumberFormatter,
    Plot,
    Row,
    ScientificFormatter,
    Select,
    StringFormatter,
    TableColumn,
    TapTool,
    TextInput,
    Title,
    UIElement,
)
from bokeh.models import Column as BokehColumn
from bokeh.plotting import figure
from bokeh.server.server import BaseServer
from bokeh.server.tornado import BokehTornado
from bokeh.server.util import bind_sockets, check_allowlist
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.ioloop import IOLoop
from tornado.web import ErrorHandler

from iitdask.errors import InputError
from iitdask.result.formatting import Table
from iitdask.types import Array

# Okabe and Ito's palette; cause and effect differ in position or shape as well.
CAUSE, EFFECT, RELATION = "#D55E00", "#0072B2", "#AA3377"
CAUSE_TEXT = "#B04A00"  # Of letters, which need more contrast than areas
MECHANISM, INK, MUTED, FAINT = "#000000", "#222222", "#6B6B6B", "#D9D9D9"
NO_DATA, SELECTED, HIGHLIGHT = "#BDBDBD", "#F0E442", "#E6007E"
SIDES = {"cause": CAUSE, "effect": EFFECT}
SIDE_TEXTS = {"cause": CAUSE_TEXT, "effect": EFFECT}
PHI = "Cividis256"
GROUPS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")


GRID = "#EEEEEE"
DARK = {
    INK: "#E6E6E6", MUTED: "#A8A8A8", FAINT: "#44484D", MECHANISM: "#FFFFFF", GRID: "#2A2D31",
    "black": "#E6E6E6", "white": "#17191C", "#ffffff": "#17191C", "#e5e5e5": "#2A2D31",
    "#444444": "#E6E6E6", CAUSE: "#F08A3C", CAUSE_TEXT: "#F08A3C", EFFECT: "#4FA8E0",
    RELATION: "#D973AE",
}  # fmt: skip
"""Colour in the dark theme of each colour that differs there."""
THEMED_MODELS = (Plot, Axis, Grid, Title, Legend, ColorBar, Glyph)
FORMATTERS: dict[str, Callable[[], StringFormatter]] = {
    "plain": StringFormatter,
    "text": lambda: StringFormatter(font_style="normal"),
    "number": lambda: NumberFormatter(format="0.000000", text_align="right", nan_format="-"),
    "large": lambda: ScientificFormatter(
        precision=3, power_limit_high=5, power_limit_low=-300, text_align="right"
    ),
    "colour": lambda: HTMLTemplateFormatter(
        template='<div style="background: <%= value %>; width: 24px; height: 14px"></div>'
    ),
}
"""Formatter of each kind of column."""
TOOLS = "pan,wheel_zoom,box_zoom,reset,save"
MIN_FIGURE_PIXELS = 200
TOOLBAR_PIXELS = 26  # Height of the toolbar above a figure
TOOLBAR_STYLE = ":host { --button-width: 24px; --button-height: 24px; }"
TOOLTIP_STYLE = "font: 12px/1.4 system-ui, sans-serif; color: #222222; background: #FFFFFF"
LARGE = 1e6  # Numbers of a table from which it has too few digits for six decimals
COINCIDENCE = 100  # Dots are one where they agree to a part of the axis as small as this
GROWTH = 1.5  # By how much a figure may be wider than said where the window has room
FRAMED = "framed"  # Tag of figures whose frame keeps its shape
SPOKEN = "spoken"  # Tag of texts that are read out when they change
SVG_TEXT = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><text x="12" y="16" '
    'fill="#757575" font-family="sans-serif" font-size="10.5" font-weight="bold" '
    'text-anchor="middle">SVG</text></svg>'
)
SVG_ICON = "data:image/svg+xml;base64," + b64encode(SVG_TEXT.encode()).decode()


def fill_page(
    doc: Document, title: str, *elements: UIElement, name: str, source: tuple[str, str] = ("", "")
) -> None:
    """Put a page into an empty document: title, elements below each other, both themes.

    `source` are the name of what is shown and the citation that belongs to it, "" without one.
    """
    doc.title = title
    doc.template = script("page.html")
    doc.template_variables["title"] = title
    doc.template_variables["subject"], doc.template_variables["citation"] = source
    doc.add_root(column(*elements, sizing_mode="stretch_width", name=name))
    plots = [model for model in doc.models if isinstance(model, Plot)]
    doc.js_on_event(DocumentReady, _themes(doc), _page_script(doc, plots))


def _themes(doc: Document) -> CustomJS:
    """Return what draws the figures of a document in the colours of either theme."""
    themed = [
        (model, name, colour)
        for model in doc.models
        if isinstance(model, THEMED_MODELS)
        for name, value in model.properties_with_values().items()
        if "color" in name and isinstance(colour := getattr(value, "value", value), str)
        if colour in DARK
    ]
    args = {
        "models": [model for model, _, _ in themed],
        "names": [name for _, name, _ in themed],
        "light": [colour for _, _, colour in themed],
        "dark": [DARK[colour] for _, _, colour in themed],
        # Of a glyph, a colour is a specification.
        "specified": [isinstance(model, Glyph) for model, _, _ in themed],
    }
    return CustomJS(args=args, code=script("theme.js"))


def _page_script(doc: Document, plots: list[Plot]) -> CustomJS:
    """Return what names and fits the figures of a document and sorts its tables."""
    tables = [model for model in doc.models if isinstance(model, DataTable)]
    frames = [plot for plot in plots if FRAMED in plot.tags]
    args = {
        "plots": plots,
        "frames": frames,
        "sizes": [[plot.frame_width, plot.frame_height] for plot in frames],
        "spoken": [model for model in doc.models if isinstance(model, Div) if SPOKEN in model.tags],
        "tables": tables,
        "sorts": [next(iter(table.tags), None) for table in tables],
    }
    return CustomJS(args=args, code=script("page.js"))


def _svg_button(plot: Plot) -> CustomAction:
    """Return a button in the toolbar of a figure that saves it as SVG."""
    args = {"plot": plot, "file": f"{plot.name or 'figure'}.svg"}
    callback = CustomJS(args=args, code=script("svg.js"))
    return CustomAction(icon=SVG_ICON, description="Save as SVG", callback=callback)


def _nearest_tap(plot: Plot) -> TapTool:
    """Return the tool that selects the one thing that was tapped, not all that are near."""
    choose = CustomJS(args={"plot": plot}, code=script("tap.js"))
    return TapTool(mode="replace", callback=choose)


@cache
def script(name: str) -> str:
    """Return a file beside this module: a script, a template or a style sheet."""
    return files("iitdask.view").joinpath(name).read_text(encoding="utf-8")


def page_grid(*elements: UIElement) -> Row:
    """Return elements side by side; those that do not fit the window go to the next line."""
    for each in elements:  # only in a row: within a column the basis would be a height
        if each.sizing_mode == "stretch_width" and each.width and "flex" not in each.styles:
            each.styles = {**each.styles, "flex": f"1 1 {each.width}px", "min-width": "0"}
    styles = {"flex-wrap": "wrap", "gap": "12px", "align-items": "flex-start"}
    return Row(children=list(elements), sizing_mode="stretch_width", styles=styles)


def html_block(html: str, width: int | None = None, **options: Any) -> Div:
    """Return HTML, already escaped, `width` pixels wide beside others, else the whole line."""
    styles = {} if width is None else {"flex": f"1 1 {width}px", "min-width": "0"}
    return Div(
        text=html, sizing_mode="stretch_width", styles=styles, stylesheets=[script("block.css")],
        disable_math=True, **options,
    )  # fmt: skip


def section_heading(title: str, note: str = "") -> Div:
    """Return a heading with a note below it."""
    return html_block(f"<h2>{title}</h2>" + (f"<p>{note}</p>" if note else ""))


def menu(title: str, options: Sequence[Any], width: int, **more: Any) -> Select:
    """Return a menu of options."""
    return Select(
        title=title, options=list(options), width=width, stylesheets=[script("block.css")], **more
    )


class Column(NamedTuple):
    """A column of a table."""

    field: str  # Column of the source
    title: str  # Text above it
    width: int  # Pixels
    # ``text``, ``number`` with six decimals, ``large`` with four digits, ``colour``, or ``plain``
    kind: str = "plain"

    def fitted(self, values: Sequence[Any] | Array) -> Column:
        """Return the column as it writes these values: numbers of many digits are rounded."""
        if self.kind == "number":
            numbers = np.abs(np.asarray(values, float))
            if (numbers[np.isfinite(numbers)] >= LARGE).any():
                return self._replace(kind="large")
        return self


def data_table(
    source: ColumnDataSource,
    columns: Sequence[Column],
    *,
    height: int,
    name: str,
    total: str = "",
    first: str | None = None,
) -> BokehColumn:
    """Return a table of a source whose rows can be searched, sorted, selected and saved.

    `total` is how many rows there would be if all were listed, `first` the field by which the
    table is sorted at first, the largest on top.
    """
    columns = [each.fitted(source.data[each.field]) for each in columns]
    width = 20 + sum(each.width for each in columns)
    search = TextInput(
        title="Search", width=190, name=f"{name}-search", stylesheets=[script("block.css")]
    )
    shown = [each for each in columns if each.kind != "colour"]
    fields = [each.field for each in shown]
    kinds = {each.field: each.kind for each in shown}
    listed = CustomJSFilter(
        args={"search": search, "fields": fields, "kinds": kinds, "first": first},
        code=script("rows.js"),
    )
    table = DataTable(
        source=source, columns=[_table_column(each) for each in columns],
        view=CDSView(filter=listed), width=width, sizing_mode="stretch_width", max_width=width,
        height=height, index_position=None, autosize_mode="none", sortable=True, selectable=True,
        reorderable=False, name=name, stylesheets=[script("block.css")],
        tags=[] if first is None else [first],
    )  # fmt: skip
    count = len(next(iter(source.data.values())))
    text = f"{count:,} listed" + (f"; {total} in all" if total else "")
    note = html_block(text, 160, name=f"{name}-count", tags=[SPOKEN])
    save = Button(
        label="CSV", width=60, name=f"{name}-csv", stylesheets=[script("block.css")],
        html_attributes={"title": "Save the rows as a CSV file"},
    )  # fmt: skip
    args = {
        "table": table, "search": search, "note": note, "total": total, "file": f"{name}.csv",
        "fields": fields, "titles": [each.title for each in shown],
    }  # fmt: skip
    code = script("table.js")
    search.js_on_change("value_input", CustomJS(args={**args, "save": False}, code=code))
    source.js_on_change("data", CustomJS(args={**args, "save": False}, code=code))
    save.js_on_click(CustomJS(args={**args, "save": True}, code=code))
    tools = Row(
        children=[search, save, note], sizing_mode="stretch_width",
        styles={"flex-wrap": "wrap", "gap": "8px", "align-items": "flex-end"},
    )  # fmt: skip
    return column(tools, table, sizing_mode="stretch_width", width=width, max_width=width)


def text_table(table: Table) -> BokehColumn:
    """Return rows of text as a table; a column of nothing but numbers sorts as such."""
    columns, data = [], {}
    for k, title in enumerate(table.columns):
        texts = [row[k] for row in table.rows]
        numbers = _as_numbers(texts)
        longest = max(map(len, [title, *texts]))
        columns.append(Column(str(k), title, min(460, max(60, 20 + 8 * longest)), "text"))
        data[str(k)] = texts if numbers is None else numbers
    height = min(330, 60 + 25 * len(table.rows))
    name = "-".join(table.name.split()) + "-table"
    return data_table(ColumnDataSource(data), columns, height=height, name=name)


def _as_numbers(texts: Sequence[str]) -> list[float] | None:
    """Return texts as numbers, None unless all are numbers that are written as these texts."""
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return None
    return numbers if [f"{each:.6g}" for each in numbers] == [*texts] else None


def _table_column(each: Column) -> TableColumn:
    return TableColumn(
        field=each.field, title=each.title, width=each.width,
        formatter=FORMATTERS[each.kind](), sortable=each.kind != "colour",
    )  # fmt: skip


def empty_figure(
    title: str,
    x: str = "",
    y: str = "",
    *,
    size: tuple[int, int] | None = None,
    frame: tuple[int, int] | None = None,
    **options: Any,
) -> figure:
    """Return an empty figure in the style of all pages.

    ``size`` are the pixels (width, height) of the figure, which shrinks in a narrower window;
    ``frame`` those of the frame within the axes, which keeps its shape and is smaller in a window
    that has no room for it.
    """
    if size is not None:
        width, height = size
        height += 0 if options.get("toolbar_location", "") is None else TOOLBAR_PIXELS
        options |= {
            "width": width, "height": height, "sizing_mode": "stretch_width",
            "max_width": int(GROWTH * width), "min_width": min(width, MIN_FIGURE_PIXELS),
        }  # fmt: skip
    if frame is not None:
        options |= {
            "frame_width": frame[0], "frame_height": frame[1], "styles": {"flex": "0 0 auto"},
            "tags": [FRAMED],
        }  # fmt: skip
    options = {"tools": TOOLS, "toolbar_location": "above", "toolbar_sticky": False} | options
    fig = figure(title=title, x_axis_label=x, y_axis_label=y, **options)
    fig.add_tools(_nearest_tap(fig), _svg_button(fig))
    fig.toolbar.logo = None  # it is a link that leaves the page
    fig.toolbar.active_scroll = None
    fig.toolbar.stylesheets = [TOOLBAR_STYLE]
    fig.title.text_font_size = "13px"
    fig.title.text_color = INK
    fig.outline_line_color = FAINT
    fig.background_fill_color = fig.border_fill_color = "white"
    for axis in fig.axis:
        axis.axis_label_text_font_size = "12px"
        axis.axis_label_text_font_style = "normal"
        axis.major_label_text_font_size = "11px"
        axis.axis_label_text_color = axis.major_label_text_color = INK
        axis.axis_line_color = axis.major_tick_line_color = axis.minor_tick_line_color = INK
    for grid in fig.grid:
        grid.grid_line_color = GRID
    return fig


def text_colour_on(colour: str) -> str:
    """Return white or ink, whichever has more contrast with ``#RRGGBB``.

    References
    ----------
    .. [1] Web Content Accessibility Guidelines 2.2, relative luminance.

    Examples
    --------
    >>> text_colour_on("#323232"), text_colour_on("#F0E442")
    ('white', '#222222')
    """
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "white" if 1.05 / (light + 0.05) > (light + 0.05) / 0.066 else INK


def spread_offsets(groups: Array) -> Array:
    """Return horizontal offsets that keep dots of the same group, a whole number, apart."""
    out = np.zeros(len(groups))
    for k in np.unique(groups):
        own = np.flatnonzero(groups == k)
        out[own] = (np.arange(len(own)) + 0.5) / len(own) * 0.7 - 0.35
    return out


def add_counts(fig: figure, x: str, y: str, source: ColumnDataSource) -> None:
    """Write beside dots that coincide how many they are."""
    places = np.column_stack([source.data[x], source.data[y]]).astype(float)
    span = np.maximum(np.ptp(places, axis=0), 1e-300) if len(places) else 1.0
    near = np.round(places / span * COINCIDENCE)
    _, first, counts = np.unique(near, axis=0, return_index=True, return_counts=True)
    many = counts > 1
    texts = [f"×{count}" for count in counts[many].tolist()]
    at = places[first[many]]
    fig.text(
        at[:, 0], at[:, 1], text=texts, x_offset=6, y_offset=-4, text_color=INK,
        text_font_size="11px",
    )  # fmt: skip


def add_hover(
    fig: figure, tips: Sequence[tuple[str, str]], *renderers: GlyphRenderer, **options: Any
) -> None:
    """Show pairs of name and value at what renderers draw."""
    lines = (f"<div><b>{escape(name)}</b> {value}</div>" for name, value in tips)
    text = f'<div style="{TOOLTIP_STYLE}">{"".join(lines)}</div>'
    fig.add_tools(HoverTool(renderers=[*renderers] or "auto", tooltips=text, **options))


def legend_below(fig: figure, entries: list[tuple[str, list[GlyphRenderer]]]) -> None:
    """Put a legend under a figure; a click on an entry hides what it names."""
    legend = Legend(items=entries, orientation="horizontal", click_policy="hide")
    legend.label_text_font_size, legend.label_text_color = "11px", INK
    legend.border_line_color, legend.background_fill_color = None, "white"
    legend.spacing, legend.margin, legend.padding = 12, 0, 2
    fig.add_layout(legend, "below")


LOOPBACK_ADDRESS = "127.0.0.1"
LOOPBACK_NAMES = ("localhost", LOOPBACK_ADDRESS, "::1")
WILDCARD_ADDRESSES = ("0.0.0.0", "::", "")
"""Addresses that mean every interface: the machine is reached by any name it has."""


@contextmanager
def serve_page(
    page: Callable[[Document], None], address: str = LOOPBACK_ADDRESS, port: int = 0
) -> Iterator[str]:
    """Serve a page that `page` fills for every visitor, from a thread; yield its address."""
    started: Future[BaseServer] = Future()

    def work() -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            server = _start_server(page, address, port)
        except Exception as error:  # noqa: BLE001 the caller raises it
            started.set_exception(error)
            loop.close()
        else:
            started.set_result(server)
            server.io_loop.start()
            server.io_loop.close(all_fds=True)

    thread = Thread(target=work, daemon=True, name="live page")
    thread.start()
    server = started.result()
    try:
        yield f"http://{_in_url(address or LOOPBACK_ADDRESS)}:{server.port}/"
    finally:
        server.io_loop.add_callback(_stop, server)
        thread.join(timeout=5)


def _stop(server: BaseServer) -> None:
    server.stop()
    server.io_loop.stop()


def _start_server(page: Callable[[Document], None], address: str, port: int) -> BaseServer:
    try:
        # Try the port first: bind_sockets leaves a socket open when it cannot have it.
        family, kind, _, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
        sockets, port = bind_sockets(address, port)
    except (OSError, UnicodeError, OverflowError) as error:
        raise InputError(f"--port: cannot listen at {address}:{port} ({error})") from error
    application = _PageApplication(
        {"/": Application(FunctionHandler(page))},
        extra_websocket_origins=[f"{_in_url(name)}:*" for name in _host_names(address)],
        absolute_url=f"http://{_in_url(address)}:{port}",
        check_unused_sessions_milliseconds=2000,
        unused_session_lifetime_milliseconds=5000,
    )
    http = HTTPServer(application)
    http.add_sockets(sockets)
    server = BaseServer(IOLoop.current(), application, http)
    server.start()
    return server


class _PageApplication(BokehTornado):  # type: ignore[misc]  # bokeh is not annotated for mypy
    """Pages for those who reach the server by a name of its own.

    Other names stand in the address bar of a stranger's page that had its own name point here,
    to read what is served as if it were its own.
    """

    def find_handler(self, request: HTTPServerRequest, **options: Any) -> Any:
        """Return what answers a request."""
        host = f"[{name}]" if ":" in (name := request.host_name.strip("[]")) else name
        if check_allowlist(f"{host.lower()}:80", list(self.websocket_origins)):
            return super().find_handler(request, **options)
        return self.get_handler_delegate(request, ErrorHandler, {"status_code": 403})


def _host_names(address: str) -> list[str]:
    """Return the names by which pages may be reached, ``*`` for any."""
    if address in WILDCARD_ADDRESSES:
        return ["*"]
    return list(dict.fromkeys([*LOOPBACK_NAMES, address.lower()]))


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address
