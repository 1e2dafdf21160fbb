"""The live page as a route of a scheduler's own web server, beside the Dask dashboard.

It is mounted by a scheduler plugin: ``client.register_plugin(LivePage())``, or
``dask scheduler --preload iitdask.view.hosted``. Runs with a store tell their scheduler
its address; the page reads that store, which the scheduler's machine must see.
"""

from __future__ import annotations

from functools import partial
from html import escape
from typing import Any
from urllib.parse import urlsplit

import dask
from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.server.tornado import BokehTornado
from distributed import SchedulerPlugin
from tornado.ioloop import IOLoop

from iitdask.run.engines import STORES_TOPIC
from iitdask.run.status import RunMonitor
from iitdask.view.pages import PAGE_TEMPLATE, html_block
from iitdask.view.status_page import fill_status_page

__all__ = [
    "PATH",
    "LivePage",
    "dask_setup",
    "page_of",
]

PATH = "iit"
"""Where on the scheduler's web server the page is."""
PAGES = "iitdask-page"
"""Under which a scheduler notes where the page is."""
EVERYWHERE = ("0.0.0.0", "::", "")
LOCAL = ("127.0.0.1", "::1", "localhost")
SHOWN = 20
"""Runs that the page links to."""


class LivePage(SchedulerPlugin):
    """Serves the live page of the runs of a scheduler at ``/iit`` of its web server."""

    name = "iitdask-live-page"
    idempotent = True

    async def start(self, scheduler: Any) -> None:
        """Mount the page; read-only, and bound as the dashboard is."""
        application = BokehTornado(
            {"/": Application(FunctionHandler(partial(_fill, scheduler)))},
            prefix=PATH,
            use_index=False,
            extra_websocket_origins=_origins(scheduler.http_server),
            check_unused_sessions_milliseconds=2000,
            unused_session_lifetime_milliseconds=5000,
        )
        application.initialize(IOLoop.current())
        application.start()
        scheduler.http_application.add_application(application)
        server = scheduler.http_server
        scheduler.log_event(PAGES, {"address": server.address, "port": server.port})


def page_of(client: Any) -> str:
    """Address of the page of a client's scheduler, once it is mounted."""
    told = client.get_events(PAGES)[-1][1]
    known = urlsplit(client.dashboard_link)
    # Where the server listens on all interfaces, Dask knows the name to call it by.
    host = known.hostname if told["address"] in EVERYWHERE else told["address"]
    host = f"[{host}]" if ":" in str(host) else host
    return f"{known.scheme}://{host}:{told['port']}/{PATH}"


async def dask_setup(scheduler: Any) -> None:
    """Mount the page on a scheduler that preloads this module."""
    plugin = LivePage()
    await scheduler.register_scheduler_plugin(plugin, name=plugin.name, idempotent=True)


def _origins(server: Any) -> list[str]:
    """Pages that may open the page's connection: those of this machine, or as Dask has it."""
    if server.address in LOCAL:
        return [f"{host}:*" for host in ("127.0.0.1", "localhost")]
    options = dask.config.get("distributed.scheduler.dashboard.bokeh-application", {})
    return [str(each) for each in options.get("allow_websocket_origin", ())]


def _fill(scheduler: Any, doc: Document) -> None:
    """Show the latest run, or the one that the address asks for: ``/iit?run=2``."""
    stores = list(dict.fromkeys(told["store"] for _, told in scheduler.get_events(STORES_TOPIC)))
    if not stores:
        doc.title = "iitdask: live"
        doc.template = PAGE_TEMPLATE
        doc.template_variables["title"] = doc.title
        doc.add_root(html_block("<p>No run with a store has begun on this scheduler yet.</p>"))
        return
    wanted = doc.session_context.request.arguments.get("run", [b""])[-1].decode(errors="replace")
    number = int(wanted) if wanted.isdecimal() and 0 < int(wanted) <= len(stores) else len(stores)
    if len(stores) > 1:
        doc.add_root(html_block(_runs(stores, number), name="runs"))
    fill_status_page(doc, RunMonitor(stores[number - 1]))


def _runs(stores: list[str], shown: int) -> str:
    said = [
        f"<b>{escape(store)}</b>"
        if number == shown
        else f'<a href="?run={number}">{escape(store)}</a>'
        for number, store in list(enumerate(stores, 1))[-SHOWN:]
    ]
    return f"<p>Runs on this scheduler: {' · '.join(said)}</p>"
