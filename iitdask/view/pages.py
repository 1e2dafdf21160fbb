"""The page template, colours and fonts of all views, and the server that shows a page."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Queue
from threading import Thread
from typing import Any

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.models import Div, GlyphRenderer, Legend
from bokeh.plotting import figure
from bokeh.server.server import Server

from iitdask.errors import InputError

__all__ = [
    "CAUSE",
    "EFFECT",
    "FAINT",
    "GROUPS",
    "INK",
    "MECHANISM",
    "MUTED",
    "PAGE_TEMPLATE",
    "PAGE_WIDTH_PIXELS",
    "PHI",
    "RELATION",
    "SIDES",
    "TOOLS",
    "PageServer",
    "empty_figure",
    "html_block",
    "legend_below",
    "section_heading",
    "serve_page",
    "serve_page_in_thread",
    "text_colour_on",
]

# Okabe and Ito's palette; cause and effect differ in position or shape as well.
CAUSE, EFFECT, RELATION = "#D55E00", "#0072B2", "#AA3377"
MECHANISM, INK, MUTED, FAINT = "#000000", "#222222", "#6B6B6B", "#D9D9D9"
SIDES = {"cause": CAUSE, "effect": EFFECT}
PHI = "Cividis256"
GROUPS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
TOOLS = "pan,wheel_zoom,box_zoom,tap,reset,save"


def empty_figure(title: str, x: str = "", y: str = "", **options: Any) -> figure:
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


def text_colour_on(colour: str) -> str:
    """Choose white or ink, whichever stands out more on ``#RRGGBB``.

    Examples
    --------
    >>> text_colour_on("#323232"), text_colour_on("#F0E442")
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


PAGE_WIDTH_PIXELS = 1240
PAGE_TEMPLATE = """
{% block preamble %}
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
  body { font: 14px/1.45 system-ui, "DejaVu Sans", sans-serif; color: #222; margin: 0; }
  main { padding: 12px 16px; }
  h1 { font-size: 20px; margin: 0 0 8px; }
</style>
<script>
  // Tables keep the Tab key for their cells and would never let go of it; arrows move there.
  const isTable = (part) => part.classList?.contains("bk-data-table")
    || part.host?.classList?.contains("bk-DataTable")
  document.addEventListener("keydown", (event) => {
    if (event.key === "Tab" && event.composedPath().some(isTable)) event.stopPropagation()
  }, true)
</script>
{% endblock %}
{% block inner_body %}<main><h1>{{ title | e }}</h1>{{ super() }}</main>{% endblock %}
"""
TEXT_STYLE = """
:host { font: 13px/1.45 system-ui, "DejaVu Sans", sans-serif; color: #222; }
h2 { font-size: 16px; margin: 14px 0 4px; border-bottom: 1px solid #D9D9D9; }
table.facts { border-collapse: collapse; }
table.facts th { text-align: left; font-weight: 600; padding: 1px 14px 1px 0; vertical-align: top;
  white-space: nowrap; }
table.facts td { padding: 1px 0; overflow-wrap: anywhere; }
table.rows { border-collapse: collapse; }
table.rows th, table.rows td { padding: 2px 14px 2px 0; border-bottom: 1px solid #EEEEEE; }
table.rows th { text-align: left; font-weight: 600; }
table.rows td { font-variant-numeric: tabular-nums; vertical-align: top; }
p { margin: 2px 0; }
p.key { color: #555; margin-top: 8px; }
"""


def html_block(html: str, width: int = PAGE_WIDTH_PIXELS, **options: Any) -> Div:
    """Put HTML, already escaped, on the page."""
    return Div(text=html, width=width, stylesheets=[TEXT_STYLE], disable_math=True, **options)


def section_heading(title: str, note: str = "") -> Div:
    """Begin a section."""
    return html_block(f"<h2>{title}</h2>" + (f"<p>{note}</p>" if note else ""))


FillDocument = Callable[[Document], None]
LOOPBACK_ADDRESS = "127.0.0.1"


@dataclass(frozen=True, slots=True, eq=False)
class PageServer:
    """A server that answers."""

    server: Any
    """Bokeh's."""
    url: str
    """Where the page is."""

    def wait(self) -> None:
        """Answer until interrupted."""
        self.server.io_loop.start()


@contextmanager
def serve_page(
    page: FillDocument, address: str = LOOPBACK_ADDRESS, port: int = 0
) -> Iterator[PageServer]:
    """Serve a page from this thread; `page` fills a document for every visitor.

    Parameters
    ----------
    page : callable
        Puts the page into an empty document.
    address : str
        Where to listen; this machine only when not given.
    port : int
        0 for any free one.

    Raises
    ------
    InputError
        The address or port cannot be listened at.
    """
    served = _start_server(page, address, port)
    try:
        yield served
    finally:
        served.server.stop()


@contextmanager
def serve_page_in_thread(
    page: FillDocument, address: str = LOOPBACK_ADDRESS, port: int = 0
) -> Iterator[PageServer]:
    """Serve a page from a thread of its own while this one works on, see :func:`serve_page`."""
    answer: Queue[PageServer | InputError] = Queue()

    def work() -> None:
        asyncio.set_event_loop(asyncio.new_event_loop())
        try:
            served = _start_server(page, address, port)
        except InputError as error:
            answer.put(error)
            return
        answer.put(served)
        served.server.io_loop.start()
        served.server.io_loop.close(all_fds=True)

    thread = Thread(target=work, daemon=True, name="live page")
    thread.start()
    served = answer.get()
    if isinstance(served, InputError):
        raise served
    try:
        yield served
    finally:
        served.server.io_loop.add_callback(_stop, served.server)
        thread.join(timeout=5)


def _stop(server: Any) -> None:
    server.stop()
    server.io_loop.stop()


def _require_free_port(address: str, port: int) -> None:
    """Try the port first: the server would leave a socket open when it cannot have it."""
    try:
        family, kind, _, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        raise InputError(f"--port: cannot listen at {address}:{port} ({error})") from error


def _start_server(page: FillDocument, address: str, port: int) -> PageServer:
    _require_free_port(address, port)
    try:
        server = Server(
            {"/": Application(FunctionHandler(page))},
            address=address,
            port=port,
            # Any name of this machine may be in the address bar when others may look, too.
            allow_websocket_origin=None if address == LOOPBACK_ADDRESS else ["*"],
            check_unused_sessions_milliseconds=2000,
            unused_session_lifetime_milliseconds=5000,
        )
    except OSError as error:
        raise InputError(f"--port: cannot listen at {address}:{port} ({error})") from error
    server.start()
    return PageServer(server, f"http://{address}:{server.port}/")
