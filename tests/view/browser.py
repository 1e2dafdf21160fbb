"""A headless Chromium of this machine, and a page that tells of every error and request."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
]
PATIENCE = 600_000
"""Milliseconds: a busy machine takes its time."""
KEPT = Path(os.environ.get("IITDASK_SCREENSHOTS") or Path(__file__).parents[2] / ".screenshots")
"""Where a picture of every page that was tested is kept, to be looked at."""
SIZE = {"width": 1280, "height": 900}


def chromium():
    """Path of an installed Chromium; None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def opened(browser, url, name, size=None, scheme="light"):
    """A page that must stay without errors and without requests beyond its own address."""
    page = browser.new_page(viewport=size or SIZE, color_scheme=scheme)
    page.set_default_timeout(PATIENCE)
    errors, requests = [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console",
        lambda line: errors.append(line.text) if line.type in ("error", "warning") else None,
    )
    page.on("request", lambda request: requests.append(request.url))
    page.goto(url)
    page.wait_for_function("() => window.Bokeh?.documents[0]?.is_idle")
    try:
        yield page
        KEPT.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=KEPT / f"{name}.png", full_page=True)
    finally:
        page.close()
    assert errors == []
    own = ("data:", "blob:", url, url.replace("http", "ws", 1))
    assert [each for each in requests if not each.startswith(own)] == []
