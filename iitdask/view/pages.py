"""Colours of all figures and pages.

The page of every view: template, light and dark theme, grid, tables, and its server.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from threading import Thread
from typing import Any, NamedTuple

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.events import DocumentReady
from bokeh.layouts import column
from bokeh.models import (
    Axis,
    ColorBar,
    ColumnDataSource,
    CustomJS,
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
    Select,
    StringFormatter,
    TableColumn,
    Title,
    UIElement,
)
from bokeh.plotting import figure
from bokeh.server.server import BaseServer
from bokeh.server.tornado import BokehTornado
from bokeh.server.util import bind_sockets, check_allowlist
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.ioloop import IOLoop
from tornado.web import ErrorHandler

from iitdask.errors import InputError

# Okabe and Ito's palette; cause and effect differ in position or shape as well.
CAUSE, EFFECT, RELATION = "#D55E00", "#0072B2", "#AA3377"
MECHANISM, INK, MUTED, FAINT = "#000000", "#222222", "#6B6B6B", "#D9D9D9"
NO_DATA, SELECTED, HIGHLIGHT = "#BDBDBD", "#F0E442", "#E6007E"
SIDES = {"cause": CAUSE, "effect": EFFECT}
PHI = "Cividis256"
GROUPS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")


GRID = "#EEEEEE"
DARK = {
    INK: "#E6E6E6", MUTED: "#A8A8A8", FAINT: "#44484D", MECHANISM: "#FFFFFF", GRID: "#2A2D31",
    "black": "#E6E6E6", "white": "#17191C", "#ffffff": "#17191C", "#e5e5e5": "#2A2D31",
    "#444444": "#E6E6E6", CAUSE: "#F08A3C", EFFECT: "#4FA8E0", RELATION: "#D973AE",
}  # fmt: skip
"""Colour in the dark theme of each colour that differs there."""
THEMED_MODELS = (Plot, Axis, Grid, Title, Legend, ColorBar, Glyph)
FORMATTERS: dict[str, Callable[[], StringFormatter]] = {
    "plain": StringFormatter,
    "text": lambda: StringFormatter(font_style="normal"),
    "number": lambda: NumberFormatter(format="0.000000", text_align="right", nan_format="-"),
    "colour": lambda: HTMLTemplateFormatter(
        template='<div style="background: <%= value %>; width: 24px; height: 14px"></div>'
    ),
}
"""Formatter of each kind of column."""
TOOLS = "pan,wheel_zoom,box_zoom,tap,reset,save"
MIN_FIGURE_PIXELS = 260


def fill_page(doc: Document, title: str, *elements: UIElement, name: str) -> None:
    """Put a page into an empty document: title, elements below each other, both themes."""
    doc.title = title
    doc.template = script("page.html")
    doc.template_variables["title"] = title
    doc.add_root(column(*elements, sizing_mode="stretch_width", name=name))
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
    doc.js_on_event(DocumentReady, CustomJS(args=args, code=script("theme.js")))


@cache
def script(name: str) -> str:
    """Return a file beside this module: a script, a template or a style sheet."""
    return files("iitdask.view").joinpath(name).read_text(encoding="utf-8")


def page_grid(*elements: UIElement) -> Row:
    """Return elements side by side; those that do not fit the window go to the next line."""
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
    kind: str = "plain"  # ``text``, ``number`` with six decimals, ``colour``, or ``plain``


def data_table(
    source: ColumnDataSource, columns: Sequence[Column], *, height: int, name: str
) -> DataTable:
    """Return a table of a source whose rows can be sorted and selected."""
    table_columns = [
        TableColumn(
            field=each.field, title=each.title, width=each.width,
            formatter=FORMATTERS[each.kind](), sortable=each.kind != "colour",
        )
        for each in columns
    ]  # fmt: skip
    return DataTable(
        source=source, columns=table_columns, width=20 + sum(each.width for each in columns),
        height=height, index_position=None, autosize_mode="none", sortable=True, selectable=True,
        reorderable=False, name=name, stylesheets=[script("block.css")],
        styles={"max-width": "100%"},
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
    ``frame`` those of the frame within the axes, which keeps its shape.
    """
    if size is not None:
        width, height = size
        options |= {
            "width": width, "height": height, "sizing_mode": "stretch_width", "max_width": width,
            "min_width": min(width, MIN_FIGURE_PIXELS), "styles": {"flex": f"1 1 {width}px"},
        }  # fmt: skip
    if frame is not None:
        options |= {
            "frame_width": frame[0], "frame_height": frame[1], "styles": {"flex": "0 0 auto"},
        }  # fmt: skip
    options = {"tools": TOOLS, "toolbar_location": "right"} | options
    fig = figure(title=title, x_axis_label=x, y_axis_label=y, **options)
    fig.toolbar.logo = None  # it is a link that leaves the page
    fig.toolbar.active_scroll = None
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


def add_hover(
    fig: figure, tips: Sequence[tuple[str, str]], *renderers: GlyphRenderer, **options: Any
) -> None:
    """Show pairs of name and value at what renderers draw."""
    fig.add_tools(HoverTool(renderers=[*renderers] or "auto", tooltips=[*tips], **options))


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
