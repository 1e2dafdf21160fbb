"""Every link within the built documentation leads to a page, and to a place in it, that exists.

`.ci/run docs` builds the site, names its folder in IITDASK_SITE and runs this.
"""

import os
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

SITE = os.environ.get("IITDASK_SITE")
GENERATED = ("_modules", "_sources", "genindex.html", "search.html")  # Sphinx's own


class Links(HTMLParser):
    """What a page links to, and the places in it that can be linked to."""

    def __init__(self, text):
        super().__init__()
        self.targets, self.places = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.places |= {found[name] for name in ("id", "name") if found.get(name)}
        for name in ("href", "src"):
            if found.get(name) and tag in {"a", "img", "link", "script"}:
                self.targets.append(found[name])


def broken_links(site):
    """Each link that leads nowhere, as text: the page and what it names."""
    pages = {
        path: Links(path.read_text(encoding="utf-8"))
        for path in sorted(site.resolve().rglob("*.html"))
    }
    for path, page in pages.items():
        for target in page.targets:
            if urlsplit(target).scheme or target.startswith("//"):
                continue
            file, place = urldefrag(target)
            leads_to = (path.parent / unquote(urlsplit(file).path)).resolve() if file else path
            known = pages[leads_to].places if leads_to in pages else None
            if not leads_to.is_file() or (
                place and known is not None and unquote(place) not in known
            ):
                yield f"{path.relative_to(site.resolve())}: {target}"


def test_broken_links__are_missing_pages_and_missing_places(tmp_path):
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here">1</a><a href="b.html#gone">2</a><a href="c.html">3</a>'
        '<a href="#top">4</a><a href="https://example.org/x">5</a><p id="top"></p>'
    )
    (tmp_path / "b.html").write_text('<h1 id="here">B</h1>')
    assert list(broken_links(tmp_path)) == ["a.html: b.html#gone", "a.html: c.html"]


def test_links_of_the_site__lead_to_pages_and_places():
    if SITE is None:
        pytest.skip("needs a built site: .ci/run docs")
    assert [link for link in broken_links(Path(SITE)) if not link.startswith(GENERATED)] == []
