"""YAML and JSON are read strictly: nothing is dropped, nothing is run, nothing takes for ever."""

import os
from pathlib import Path

import pytest

from iitdask.errors import SpecError
from iitdask.model.documents import MAX_DEPTH, MAX_DIGITS, read_document, read_file


def read(folder, name, text):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_document(path, SpecError)


def bomb(depth):
    """Lists of nine aliases each: nine to the power of `depth` values."""
    links = [f"&a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, depth)]
    return f"[&a0 [{', '.join(['x'] * 9)}], {', '.join(links)}]"


@pytest.mark.parametrize("word", ["on", "off", "yes", "no", "y", "n", "N", "Y", "True", "NO"])
def test_yaml__takes_true_and_false_alone_for_booleans(tmp_path, word):
    assert read(tmp_path, "a.yaml", f"{word}: {word}\nt: true\nf: false\n") == {
        word: word,
        "t": True,
        "f": False,
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-12", -12),
        ("0x10", 16),
        ("0o17", 15),
        ("1e-3", 1e-3),
        (".5", 0.5),
        ("1.", 1.0),
        ("010.5", 10.5),
        ("-.inf", -float("inf")),
        ("1_0", "1_0"),
        ("1:30", "1:30"),
        ("0b1", "0b1"),
        ("2020-01-01", "2020-01-01"),
        ("~", None),
        ("null", None),
        ("=", "="),
        ('"0010"', "0010"),
        ("!!str 0010", "0010"),
        ("!!float .5", 0.5),
    ],
)
def test_yaml__reads_scalars_as_version_1_2_does(tmp_path, text, value):
    found = read(tmp_path, "a.yaml", f"a: {text}")["a"]
    assert found == value
    assert type(found) is type(value)


def test_yaml__merges_mappings(tmp_path):
    found = read(tmp_path, "a.yaml", "x: &x {a: 1, b: 1}\ny: {<<: *x, b: 2}\n")
    assert found["y"] == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", r"a\.yaml: line 3: key 'a' is given twice, first in line 1"),
        ("x: {a: 1,\n  'a': 2}", "line 2: key 'a' is given twice, first in line 1"),
        ("a: 1\nstate: 0100", "line 2: zeros at the begin of 0100 would be lost; quote it: '0100'"),
        ("a: " + "[" * 2000, f"line 1: nested more than {MAX_DEPTH} deep"),
        ("a: " + "{b: " * 2000, f"line 1: nested more than {MAX_DEPTH} deep"),
        ("a:\n " + "9" * 5000, f"line 2: expected a number, .* more than {MAX_DIGITS} digits"),
        ("a: &b [*b]", "line 1: a value holds itself"),
        ("a: " + bomb(9), "line 1: aliases that stand for more than 1000000 values"),
        ("a: !!python/object/apply:os.system [x]", "line 1: expected YAML, could not determine"),
        ("a: !!timestamp x", "line 1: expected YAML, could not determine"),
        ("a: !!int x", "line 1: expected an integer, got 'x'"),
        ('a: "\\ud800"', "line 1: expected text, got half of a surrogate pair"),
        (b"a: 1\nb: \x00", "line 2: expected YAML, got the character #x0000"),
        ("a: 1\n---\nb: 2", "line 2: expected YAML, but found another document"),
        ("a: [1,\nb: ]}", "line 2: expected YAML"),
        ("? [1]\n: 2", "line 1: expected YAML, found unhashable key"),
        (b"\xff\xfea", "expected text in UTF-8"),
    ],
)
def test_yaml__refuses_in_one_line(tmp_path, text, message):
    with pytest.raises(SpecError, match=message) as caught:
        read(tmp_path, "a.yaml", text)
    assert "\n" not in str(caught.value)


def test_yaml__that_refers_to_values_a_few_times_is_read(tmp_path):
    assert read(tmp_path, "a.yaml", "a: " + bomb(3))["a"][2][0][0] == ["x"] * 9


def test_yaml__nested_by_aliases_is_refused(tmp_path):
    chain = [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, MAX_DEPTH + 10)]
    with pytest.raises(SpecError, match=f"line {MAX_DEPTH + 1}: nested more than"):
        read(tmp_path, "a.yaml", "\n".join(["a0: &a0 [1]", *chain]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1,\n\t"a": 2}', r"a\.json: line 2: key 'a' is given twice, first in line 1"),
        ('{"b": {"a": 1,\n\n"a": 2}}', "line 3: key 'a' is given twice, first in line 1"),
        ("[" * 100_000 + "]" * 100_000, f"nested more than {MAX_DEPTH} deep"),
        ("[" * 300 + "]" * 300, f"nested more than {MAX_DEPTH} deep"),
        ("9" * 5000, f"more than {MAX_DIGITS} digits"),
        ('["\\ud800"]', "expected text, got half of a surrogate pair"),
        ('{"\\ud800": 1}', "expected text, got half of a surrogate pair"),
        ('{"a": ', "line 1: expected JSON, Expecting value"),
        ("", "line 1: expected JSON, Expecting value"),
    ],
)
def test_json__refuses_in_one_line(tmp_path, text, message):
    with pytest.raises(SpecError, match=message):
        read(tmp_path, "a.json", text)


def test_documents__may_begin_with_a_byte_order_mark(tmp_path):
    for name in ("a.json", "a.yaml"):
        assert read(tmp_path, name, b'\xef\xbb\xbf{"a": [1, "\xc3\xa9"]}') == {"a": [1, "é"]}


def test_read_file__refuses_what_might_never_end(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    Path("loop").symlink_to("loop")
    for name, reason in {
        "fifo": "not a regular file",
        "/dev/zero": "not a regular file",
        "loop": "Too many levels of symbolic links",
        "a\0b": "embedded null byte",
        "\ud800": "surrogates not allowed",
        "a" * 300: "File name too long",
        ".": "Is a directory",
    }.items():
        with pytest.raises(SpecError, match=f"expected a readable file: .*{reason}"):
            read_file(tmp_path / name, SpecError)


def test_read_file__refuses_files_larger_than_the_memory(tmp_path):
    with (tmp_path / "m.npy").open("wb") as file:
        file.truncate(1 << 42)  # no block of the disk is written
    with pytest.raises(SpecError, match="too many for the memory of this machine"):
        read_file(tmp_path / "m.npy", SpecError)
