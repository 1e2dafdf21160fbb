"""Messages are one line that every terminal can show, whatever users give."""

import pickle

import numpy as np
import pytest

from iitdask.errors import (
    MAX_LINE_CHARACTERS,
    MAX_VALUE_CHARACTERS,
    InputError,
    StoreError,
    UnreachableStateError,
    one_line,
    quote,
)


@pytest.mark.parametrize("kind", [InputError, StoreError, UnreachableStateError])
def test_errors__are_one_line(kind):
    error = kind("a\nb\r\u2028\x1b[31m\ud800c")
    assert str(error) == "a\\nb\\r\\u2028\\x1b[31m\\ud800c"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert str(kind(str(error))) == str(error)


def test_errors__leave_out_the_middle_of_long_messages():
    text = str(InputError("begin " + "x" * 10**6 + " end"))
    assert len(text) == MAX_LINE_CHARACTERS
    assert text.startswith("begin x")
    assert text.endswith("x end")
    assert len(one_line("\n" * 10**6)) == MAX_LINE_CHARACTERS


@pytest.mark.parametrize(
    "value",
    [None, 1, -0.5, "a'b", b"\0", [], [1], (1,), (1, 2), {}, {"a": [1, {}]}, {1: (2, "x")}],
)
def test_quote__is_what_repr_gives(value):
    assert quote(value) == repr(value)


def test_quote__stops_where_repr_would_not():
    bomb = ["x"]
    for _ in range(50):
        bomb = [bomb] * 9
    deep = []
    for _ in range(10_000):
        deep = [deep]
    holder = {}
    holder["me"] = holder
    long = [bomb, deep, holder, "x" * 10**6, list(range(10**6)), np.zeros((50, 50)).tolist()]
    assert [len(quote(value)) for value in long] == [MAX_VALUE_CHARACTERS] * len(long)
    assert quote(10**5000) == "an integer of 16610 bits"


def test_quote__names_the_type_of_what_has_no_text():
    class Broken:
        def __repr__(self):
            raise RuntimeError

    assert quote(Broken()) == "a Broken"
