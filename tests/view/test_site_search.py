"""The search of the built documentation finds the page that answers each of the ten questions.

`.ci/run docs` builds the site, names its folder in IITDASK_SITE and runs this.
"""

import os
import re
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

SITE = os.environ.get("IITDASK_SITE")
QUESTIONS = (Path(__file__).parents[2] / "docs" / "questions.md").read_text(encoding="utf-8")
FOUND = "() => document.querySelector('.search-summary')?.textContent.match(/found|not match/)"
HITS = "links => links.map(link => link.getAttribute('href').split(/[?#]/)[0])"


ITEMS = re.split(r"^\d+\. ", QUESTIONS, flags=re.MULTILINE)[1:]


def asked():
    """Every word in bold of a question, with the pages that answer it."""
    for item in ITEMS:
        pages = [link.replace(".md", ".html") for link in re.findall(r"\]\((\S+?\.md)\)", item)]
        for words in re.findall(r"\*\*(.+?)\*\*", item):
            yield pytest.param(words, pages, id=words)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def search(browser):
    """What the site's search lists for some words, best first."""
    if SITE is None:
        pytest.skip("needs a built site: .ci/run docs")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=SITE))
    Thread(target=server.serve_forever, daemon=True).start()
    page = browser.new_page()

    def hits(words):
        address = f"http://127.0.0.1:{server.server_port}/search.html?q={words.replace(' ', '+')}"
        page.goto(address)
        page.wait_for_function(FOUND)
        return page.eval_on_selector_all("#search-results ul.search > li > a", HITS)

    yield hits
    page.close()
    server.shutdown()
    server.server_close()


def test_questions__are_ten_with_words_to_search_for():
    assert len(ITEMS) == 10
    assert all("**" in item for item in ITEMS)


@pytest.mark.parametrize(("words", "pages"), list(asked()))
def test_search__finds_the_page_that_answers(words, pages, search):
    found = search(words)
    assert set(found[:2]) & set(pages), (words, found[:8])


def test_search__finds_nothing_for_what_is_not_there(search):
    assert search("zzyzx") == []
