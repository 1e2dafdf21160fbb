"""The path of one run is the one that docs/architecture.md shows."""

import importlib
import re
import sys
from pathlib import Path

import iitdask as iit

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| (\d+) \| `([\w.]+)` \| `([\w/]+\.py)` \|", re.MULTILINE)


def documented_path():
    """Functions and files of the table, in its order."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = ROW.findall(text)
    assert [int(number) for number, _, _ in rows] == list(range(1, len(rows) + 1))
    return [(name, file) for _, name, file in rows]


def stack_at(name, call):
    """Frames of the package, outermost first, where `call` first enters a function of that name."""
    stacks = []

    def profile(frame, event, _):
        if event == "call" and frame.f_code.co_name == name and not stacks:
            stack = []
            while frame is not None:
                path = Path(frame.f_code.co_filename)
                if path.is_relative_to(ROOT / "iitdask"):
                    file = str(path.relative_to(ROOT / "iitdask"))
                    stack.append((frame.f_code.co_qualname, file))
                frame = frame.f_back
            stacks.append(stack[::-1])

    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
    return stacks[0]


def test_path__has_at_most_twelve_functions_in_eight_files():
    path = documented_path()
    assert len(path) <= 12
    assert len({file for _, file in path}) <= 8


def test_path__is_the_one_a_run_takes():
    substrate = iit.examples.load("basic")

    def call():
        iit.ces(substrate, "100")

    *way, (kernel, kernel_file), (last, last_file) = documented_path()
    assert stack_at(way[-1][0], call) == way
    back = stack_at(last, call)
    assert back[-1] == (last, last_file)
    assert back[:-1] == way[: len(back) - 1]  # called by one of those on the way there
    module = importlib.import_module(f"iitdask.{kernel_file[:-3].replace('/', '.')}")
    assert hasattr(module, kernel)
    fill = importlib.import_module(f"iitdask.{way[-1][1][:-3].replace('/', '.')}")
    assert getattr(fill, kernel) is getattr(module, kernel)
