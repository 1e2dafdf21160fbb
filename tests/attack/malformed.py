"""Malformed studies and tables, drawn from one random source each.

A trial mutates a study that can be run, writes it as YAML or JSON, and perhaps mutates the text,
too; or it writes a file of a table, valid or not, and a study that reads it.
"""

import copy
import datetime
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import yaml

THREE_UNITS = [
    {"label": "A", "gate": "OR", "inputs": ["B", "C"]},
    {"label": "B", "gate": "COPY", "inputs": ["C"]},
    {"label": "C", "gate": "XOR", "inputs": ["A", "B"]},
]
SIGMOIDS = [
    {"label": "A", "gate": "LOGISTIC", "inputs": ["A", "B"], "weights": [-0.2, 0.7], "slope": 4},
    {"label": "B", "gate": "LOGISTIC", "inputs": ["A", "B"], "weights": [0.7, -0.2], "slope": 4},
]
TPM = [[0.1, 0.2], [0.9, 0.3], [0.4, 0.5], [0.7, 0.8]]
FACTORS = [
    {"inputs": [0, 1], "table": [[[0.1, 0.9], [0.2, 0.8]], [[0.3, 0.7], [0.5, 0.5]]]},
    {"inputs": [0], "table": [[1, 0], [0, 1]]},
]
BASIC = {"example": "basic"}
RING = {"family": "ring", "n": [3, 4], "gates": "RULE"}
RANDOM_FAMILY = {
    "family": "erdos-renyi",
    "n": 3,
    "p": 0.6,
    "count": 3,
    "seed": 7,
    "gates": [{"gate": "AND", "noise": 0.02}, "XOR"],
}
STUDIES: list[dict[str, Any]] = [
    {"substrate": {"units": THREE_UNITS}, "state": "100", "theory": "iit4", "compute": "ces"},
    {"substrate": {"units": THREE_UNITS}, "state": "100", "units": "AB", "compute": "sia"},
    {
        "substrate": {"units": SIGMOIDS},
        "state": [0, 1],
        "compute": "ces",
        "theory": {"name": "iit4", "ties": "canonical"},
    },
    {"substrate": {"tpm": TPM}, "state": "10", "compute": "ces", "theory": "iit4-2026"},
    {
        "substrate": {"tpm": TPM, "labels": ["x", "y"], "connectivity": [[1, 1], [1, 1]]},
        "state": {"x": 1, "y": 0},
        "compute": "sia",
    },
    {"substrate": {"factors": FACTORS}, "state": "01", "compute": "ces"},
    {"substrate": BASIC, "state": "100", "theory": "iit3", "compute": "ces"},
    {"substrate": BASIC, "state": "100", "compute": "complexes", "max_size": 3},
    {
        "substrate": BASIC,
        "state": "100",
        "compute": "complexes",
        "candidates": ["AB", ["A", "C"], [0, 1]],
    },
    {
        "substrate": BASIC,
        "before": "110",
        "after": "100",
        "compute": "account",
        "theory": "causation2019",
        "max_order": 2,
        "causes": "AB",
        "effects": ["C"],
    },
    {
        "substrate": {"units": THREE_UNITS},
        "compute": "sia",
        "theory": "iit4",
        "sweep": {"state": "all", "noise": [0, 0.1, 0.2]},
    },
    {
        "substrate": {"units": THREE_UNITS},
        "compute": "sia",
        "sweep": {
            "state": ["100", "010"],
            "units": "all",
            "A.noise": {"linspace": [0, 0.3, 3]},
        },
    },
    {
        "compute": "sia",
        "theory": "iit4",
        "sweep": {"substrate": RING, "number": [30, 110], "state": "reachable"},
    },
    {"compute": "sia", "sweep": {"substrate": RANDOM_FAMILY, "state": "all"}},
    {
        "compute": "sia",
        "state": "100",
        "sweep": {
            "substrate": ["basic", {"units": THREE_UNITS}],
            "theory": ["iit4", "iit3"],
            "compute": ["sia", "ces"],
        },
    },
    {
        "substrate": {"units": SIGMOIDS},
        "compute": "ces",
        "sweep": {
            "zip": {"A.slope": [1, 2], "B.slope": [3, 4]},
            "state": {"trajectory": {"steps": 4, "burn": 1, "seed": 3, "start": "01"}},
        },
    },
    {
        "substrate": {"units": THREE_UNITS},
        "compute": "sia",
        "state": "100",
        "sweep": {"units": {"size": 2}, "noise": {"geomspace": [0.01, 0.1, 2]}},
        "keep": "structures",
    },
    {
        "substrate": BASIC,
        "state": "100",
        "compute": "ces",
        "run": {"workers": None, "memory": "4GB", "block_seconds": 0.5},
        "name": "n",
        "title": "t",
        "citation": "c",
        "figure": "f",
        "note": "n",
    },
]
"""Studies that can be run."""
KEY_TEXT = (
    "substrate tpm units factors example labels connectivity state theory name ties sweep zip "
    "compute keep run workers memory block_seconds noise slope gate kind inputs weights table "
    "levels family n p k seed count linspace geomspace range trajectory steps burn start size "
    "max_size max_order candidates before after causes effects threshold background temperature "
    "bias value number gates A.noise Z.noise A. .noise macro grain on off no y N"
)
KEYS = KEY_TEXT.split()
WORD_TEXT = (
    "all reachable iit4 iit3 iit4-2026 causation2019 sia ces complexes account nexus events A B "
    "AB ABC 100 0001 elementary-88 basic xor macro structures OR AND MAJORITY LOGISTIC RULE XNOR "
    "NOT THRESHOLD TABLE CONSTANT BIAS ISING ring erdos-renyi watts-strogatz regular canonical "
    "reference"
)
WORDS = WORD_TEXT.split()
TABLE_FILES = ["m.npy", "m.npz", "m.csv", "m.txt", "m.json", "m.tsv", "m.CSV"]


# Values


def nested(depth: int, in_mappings: bool) -> Any:
    """Return a number inside so many lists or mappings."""
    value: Any = 1
    for _ in range(depth):
        value = {"a": value} if in_mappings else [value]
    return value


def odd_axis(r: Random) -> dict[str, Any]:
    """Return an axis or family whose parameters do not fit."""
    steps = [0, -1, 5, 10**9, "x", 1.5]
    return r.choice(
        [
            {"linspace": [0, 1, r.choice([-1, 0, 1, 10**9, 2.5, "x"])]},
            {"geomspace": [r.choice([0, -1, 1]), 1, 3]},
            {"range": [0, 10 ** r.randint(0, 12), r.choice([1, 0, -1, 0.5, 1e-9])]},
            {"trajectory": {"steps": r.choice(steps), "seed": r.choice([0, -1, 10**30, "x"])}},
            {"size": r.choice([0, -1, 2, 99, "x"])},
            {
                "family": r.choice(WORDS),
                "n": r.choice([0, 1, 2, 3, 70, "x", [1, 2], -4, 10**400]),
                "gates": r.choice(WORDS),
                "count": r.choice([0, 1, 2, 10**9]),
                "seed": r.choice([0, -1, 10**400]),
            },
        ]
    )


CONSTANTS: list[Any] = [
    *(None, True, False, "", [], {}, 0, -1, 1, 62, 63, 64, 65, 1000, 3.5, 1e9),
    *(float("nan"), float("inf"), -float("inf"), -0.0, 1e308, 5e-324, 1e-17),
    *(2**31, 2**63, 2**64, -(2**63) - 1, 10**30, 10**400),
    *("\0", "\u202e\u0661\u0662", "\u0661\u0660\u0660", "\u00b2", "1\n0\n0", "1\r0", "\u2028"),
    *("\N{LATIN SMALL LETTER E WITH ACUTE}" * 3, "\N{COLLISION SYMBOL}", "\ud800"),
    *("x" * 100_000, "1" * 5000, "10" * 50, "1e3", "0x10", "0b1", "1_0", " 100 ", "NaN"),
    *("../../../etc/passwd", "/etc/passwd", "/dev/null", "a" * 300 + ".npy", ".", ".."),
    *("<script>alert(1)</script>", "%s%n{0}{x}", "a,b", "a/b", "on", "off", "no", "N", "y"),
    *([[[]]], [[1], [2, 3]], [None], {"": ""}, {1: 2}, {None: 1}, {True: 1}),
    *([0.5] * 3, [[0.5, 0.5]] * 4, list(range(70)), ["1", "2", "3"], [1, 2], {"1": 0, "2": 1}),
    *(b"\x00\xff", datetime.date(2020, 1, 1), {"gate": ["OR"]}, {"name": ["iit4"]}),
]


def odd_value(r: Random) -> Any:
    """Return a value that fits almost nowhere in a study."""
    kind = r.random()
    if kind < 0.55:
        return copy.deepcopy(r.choice(CONSTANTS))
    if kind < 0.68:
        return r.choice(WORDS)
    if kind < 0.73:
        return r.choice([r.uniform(-2, 2), r.randint(-5, 300)])
    if kind < 0.79:
        return [odd_value(r) for _ in range(r.randint(1, 4))]
    if kind < 0.86:
        return {r.choice(KEYS): odd_value(r)}
    if kind < 0.9:
        return nested(r.choice([10, 100, 400, 990, 3000]), r.random() < 0.5)
    if kind < 0.91:
        return r.choice(["/dev/zero", "/dev/stdin", "fifo.npy"])
    return odd_axis(r)


# Studies


def paths(node: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value of nested mappings and lists."""
    yield at
    if isinstance(node, dict | list):
        keys = list(node) if isinstance(node, dict) else range(len(node))
        for key in keys:
            yield from paths(node[key], (*at, key))


def value_at(tree: Any, at: tuple[Any, ...]) -> Any:
    """Return the value at a path."""
    for key in at:
        tree = tree[key]
    return tree


def replaced(tree: Any, at: tuple[Any, ...], value: Any) -> Any:
    """Return the tree with another value at a path."""
    if not at:
        return value
    value_at(tree, at[:-1])[at[-1]] = value
    return tree


def mutated(r: Random, study: Any) -> Any:
    """Return a copy of a study with one to five mutations."""
    study = copy.deepcopy(study)
    for _ in range(r.choice([1, 1, 1, 2, 2, 3, 5])):
        try:
            study = mutated_once(r, study)
        except (KeyError, IndexError, TypeError, OverflowError, ValueError, RecursionError):
            continue
    return study


def mutated_once(r: Random, study: Any) -> Any:
    places = list(paths(study))
    at = r.choice(places)
    kind = r.random()
    if kind < 0.5:
        return replaced(study, at, odd_value(r))
    if kind < 0.6:
        del value_at(study, at[:-1])[at[-1]]
        return study
    if kind < 0.72:
        return with_an_entry(r, study, at)
    if kind < 0.82:
        return replaced(study, at, copy.deepcopy(value_at(study, r.choice(places))))
    if kind < 0.9:
        return replaced(study, at, multiplied(r, value_at(study, at)))
    other = r.choice(STUDIES)
    key = r.choice(list(other))
    study[key] = copy.deepcopy(other[key])
    return study


def with_an_entry(r: Random, study: Any, at: tuple[Any, ...]) -> Any:
    node = value_at(study, at)
    if isinstance(node, dict):
        key = r.choice(KEYS) if r.random() < 0.85 else str(odd_value(r))[:50]
        node[key] = odd_value(r)
    elif isinstance(node, list):
        node.insert(r.randint(0, len(node)), odd_value(r))
    else:
        study = replaced(study, at, [node])
    return study


def multiplied(r: Random, value: Any) -> Any:
    if isinstance(value, list):
        return value * r.choice([2, 3, 20])
    if isinstance(value, str):
        return value * r.choice([2, 30])
    return value * r.choice([-1, 10, 1e6, 1e300, 1e-300])


# Text


def study_text(r: Random, study: Any) -> tuple[bytes, str]:
    """Return a study as the content of a file, perhaps mutated, and the ending of its name."""
    is_json = r.random() < 0.35
    try:
        if is_json:
            text = json.dumps(study, default=str)
        else:
            style, unicode = r.choice([None, True, False]), r.random() < 0.5
            text = yaml.safe_dump(
                study, sort_keys=False, allow_unicode=unicode, default_flow_style=style
            )
    except (RecursionError, yaml.YAMLError, TypeError, ValueError):
        text = "[" * (depth := r.choice([500, 2000, 100_000])) + "]" * depth
        text = text if is_json else f"substrate: {text}"
    content = text.encode("utf-8", "surrogatepass")
    if r.random() < 0.25:
        for _ in range(r.choice([1, 1, 2, 5])):
            content = r.choice(TEXT_MUTATIONS)(r, content)
    return content, ".json" if is_json else r.choice([".yaml"] * 3 + [".yml", "", ".txt", ".json"])


def inserted(r: Random, content: bytes, piece: bytes) -> bytes:
    k = r.randint(0, len(content))
    return content[:k] + piece + content[k:]


YAML_PIECES = [
    *(b"&a ", b"*a ", b"!!python/object/apply:os.system ['true'] ", b"!!binary ", b"!!set "),
    *(b"!!timestamp ", b"<<: ", b"? ", b"- ", b"\t", b"%YAML 9.9\n", b"---\n", b"...\n"),
    *(b"|\n", b">\n", b"!!float ", b"!!int ", b"!!omap ", b"!!bool ", b"@", b"`", b"!x "),
    *(b"\x85", b"\xe2\x80\xa8", b"\xed\xa0\x80"),
]


def with_another_byte(r: Random, content: bytes) -> bytes:
    if not content:
        return content
    k = r.randrange(len(content))
    return content[:k] + bytes([r.randint(0, 255)]) + content[k + 1 :]


def shuffled_lines(r: Random, content: bytes) -> bytes:
    lines = content.split(b"\n")
    r.shuffle(lines)
    return b"\n".join(lines)


def as_utf16(_r: Random, content: bytes) -> bytes:
    return content.decode("utf-8", "replace").encode("utf-16")


def alias_bomb(r: Random, _content: bytes) -> bytes:
    """Return a study of a few hundred bytes whose aliases stand for up to 9**30 values."""
    depth = r.choice([2, 5, 9, 30])
    links = [f"&a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, depth)]
    chain = ["&a0 [x, x, x, x, x, x, x, x, x]", *links]
    if r.random() < 0.3:
        anchors = "\n".join(f"a{i}: {link}" for i, link in enumerate(chain))
        return f"{anchors}\n{r.choice(BOMB_PLACES) % f'*a{depth - 1}'}".encode()
    if r.random() < 0.2:
        return r.choice(RECURSIVE_TEXTS).encode()
    return (r.choice(BOMB_PLACES) % f"[{', '.join(chain)}]").encode()


BOMB_PLACES = [
    "substrate: {tpm: %s}\nstate: '10'",
    "substrate: {units: %s}\nstate: '10'",
    "substrate: {factors: %s}\nstate: '10'",
    "substrate: {example: basic}\nstate: '100'\ncandidates: %s\ncompute: complexes",
    "substrate: {example: basic}\nstate: %s",
    "substrate: {example: basic}\nsweep: {noise: %s}",
    "substrate: {example: basic}\nsweep: {state: %s}",
    "substrate: {example: basic}\nsweep: {substrate: %s}",
    "substrate: {example: basic, labels: %s}\nstate: '100'",
    "substrate: {tpm: [[1,1],[0,0]], labels: %s}\nstate: '100'",
    "substrate: {tpm: [[1],[0]], connectivity: %s}\nstate: '1'",
    "substrate: {example: basic}\nstate: '100'\ntheory: {name: iit4, ties: %s}",
    "substrate: {example: %s}\nstate: '1'",
    "substrate: {example: basic}\nsweep: {zip: %s}",
    "substrate: {example: basic}\nsweep: {units: %s, state: all}",
    "substrate: {example: basic}\nsweep: {theory: %s, state: all}",
    "substrate: {example: basic}\nsweep: {compute: %s, state: all}",
    "note: %s\nsubstrate: {example: basic}\nstate: '100'",
    "substrate: %s",
]
RECURSIVE_TEXTS = [
    "substrate: &s {tpm: *s}\nstate: '1'",
    "substrate: {tpm: &t [*t]}\nstate: '1'",
    "substrate: {units: &u [*u]}\nstate: '1'",
    "substrate: {example: basic}\nstate: &s [*s]",
    "substrate: {example: basic}\nsweep: &w {state: *w}",
    "&a [*a]",
]
TEXT_MUTATIONS = [
    with_another_byte,
    lambda r, content: content[: r.randint(0, len(content))],
    lambda r, content: inserted(r, content, r.randbytes(r.randint(1, 40))),
    lambda r, content: inserted(r, content, r.choice(YAML_PIECES)),
    lambda r, content: b"\xef\xbb\xbf" + content,
    lambda r, content: content.replace(b"\n", b"\r\n"),
    as_utf16,
    lambda r, content: inserted(r, content, b"\0"),
    lambda r, content: content + content,  # every key is given twice
    lambda r, content: r.randbytes(r.randint(0, 300)),
    alias_bomb,
    shuffled_lines,
    lambda r, content: content.replace(b"'", b""),  # numbers that were quoted
]


# Tables

ARRAYS = [
    *(np.array(TPM), np.array(TPM, np.float32), np.array(TPM, np.float16), np.array(TPM) + 1j),
    *(np.array(TPM, np.longdouble), np.array(TPM).astype(">f8"), np.array(TPM, object)),
    *(np.array([["a", "b"]] * 4), np.zeros((4, 2), "S3"), np.zeros((4, 2), "M8[s]")),
    *(np.zeros((4, 2), bool), np.zeros((4, 2), np.uint64), np.zeros((4, 2), "V8")),
    *(np.zeros((4, 2), [("a", "f8")]), np.asfortranarray(np.array(TPM)), np.zeros((0, 0))),
    *(np.zeros(()), np.zeros(5), np.zeros((1, 1)), np.zeros((4, 0)), np.eye(3), np.eye(4)),
    *(np.full((4, 2), np.nan), np.full((4, 2), 2.0), np.full((4, 2), -1e-14)),
    *(np.full((8, 3), 1 + 1e-14), np.zeros((2, 2, 2)), np.zeros((2, 2, 2, 2))),
    *(np.zeros((2,) * 20 + (0,)), np.ones((3, 3, 2, 3)) / 3),
]
PLAIN_HEADER = "{'descr': %s, 'fortran_order': False, 'shape': %s, }"
NPY_HEADERS = [
    PLAIN_HEADER % ("'<f8'", "(1000000000000, 2)"),
    PLAIN_HEADER % ("'<f8'", "(300000000, 2)"),
    PLAIN_HEADER % ("'<f8'", "(-1, 2)"),
    PLAIN_HEADER % ("'<f8'", "(2**80,)"),
    PLAIN_HEADER % ("'<f8'", "(100000000000000000000000,)"),
    PLAIN_HEADER % ("'<f8'", "(9223372036854775807, 9223372036854775807)"),
    PLAIN_HEADER % ("'|O'", "(2,)"),
    PLAIN_HEADER % ("__import__('os').system('true')", "(2,)"),
    PLAIN_HEADER % ("'<V2000000000'", "(4, 2)"),
    PLAIN_HEADER % ("'<q8'", "(4, 2)"),
    PLAIN_HEADER % ("('<f8', (2,))", "(4,)"),
    "{'descr': [('a','<f8')], 'fortran_order': 3, 'shape': 'x', }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (4, 2), 'x': 1}",
    *("{" * 2000, "((((" * 400, "'" + "a" * 9000 + "'", "\0" * 40, "x\ny"),
]
ODD_ARRAYS = [
    *(np.array([None, 1], object), np.array([]), np.array(5), np.array(["", ""])),
    *(np.array(["a,b", "c"]), np.array(["x", "x"]), np.array([b"a", b"b"]), np.array([1, 2])),
    *(np.array(["x" * 100, "y"]), np.array([["x"], ["y"]]), np.array([np.nan, 1])),
    *(np.zeros((3, 3)), np.ones((2, 2)) * 0.5, np.full((2, 2), np.nan)),
    *(np.zeros((2, 2), "M8[s]"), np.array([[1, 1], [1, 1]], "c16")),
]
TEXT_NUMBERS = ["nan", "inf", "x", "", "1e999", "0x1", "1_0", "\u0663", "1,2", "#", "-0", "1e-400"]


def table_content(r: Random, name: str) -> bytes:
    """Return the content of a file with a table, valid or not."""
    array = ARRAYS[0] if r.random() < 0.3 else r.choice(ARRAYS)
    if name.endswith(".json"):
        return json_table(r)
    if not name.endswith((".npy", ".npz")):
        return text_table(r)
    out = io.BytesIO()
    if name.endswith(".npy"):
        if r.random() < 0.15:
            header = r.choice(NPY_HEADERS).encode() + b"\n"
            return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64)
        np.save(out, array, allow_pickle=True)
    else:
        write_archive(r, out, array)
    content = out.getvalue()
    for _ in range(r.choice([0, 0, 1, 1, 3])):
        content = r.choice([with_another_byte, cut, grown, with_another_byte])(r, content)
    return content


def cut(r: Random, content: bytes) -> bytes:
    return content[: r.randint(0, len(content))]


def grown(r: Random, content: bytes) -> bytes:
    return inserted(r, content, r.randbytes(9))


def write_archive(r: Random, out: io.BytesIO, array: Any) -> None:
    """Write a .npz file of a table and what may stand beside it."""
    contents = [
        {"tpm": array},
        {"tpm": array, "labels": np.array(["x", "y"])},
        {"tpm": array, "connectivity": np.ones((2, 2))},
        {"tpm": array, "labels": r.choice(ODD_ARRAYS)},
        {"tpm": array, "connectivity": r.choice(ODD_ARRAYS)},
        {"tpm": array, "../../x": array},
        {"x": array},
        {},
    ]
    np.savez(out, **r.choice(contents))
    if r.random() < 0.15:
        names = ["../../../x", "tpm", "tpm.npy", "labels.npy", "connectivity.npy", "/abs.npy"]
        with zipfile.ZipFile(out, "a") as archive:
            method = r.choice([zipfile.ZIP_STORED, zipfile.ZIP_LZMA])
            junk = r.choice([b"", b"junk", b"\x93NUMPY", bytes(1000)])
            name = r.choice([each for each in names if each not in archive.namelist()])
            archive.writestr(name, junk, method)


def json_table(r: Random) -> bytes:
    edges = [[1, 1], [1, 1]]
    network = {"tpm": TPM, "connectivity": edges, "cm": edges, "nodes": [], "state": [1, 0]}
    version_1 = {
        "tpm": {"__class__": "ExplicitTPM", "_tpm": TPM},
        "cm": edges,
        "__class__": "Network",
        "__version__": "1.2",
        "node_labels": {"labels": ["A", "B"]},
    }
    contents = [
        TPM,
        {"tpm": TPM},
        {"tpm": TPM, "cm": edges},
        odd_value(r),
        mutated(r, {"tpm": TPM, "labels": ["x", "y"]}),
        mutated(r, network | {"__class__": "Network"}),
        mutated(r, version_1),
    ]
    return study_text(r, r.choice(contents))[0]


def text_table(r: Random) -> bytes:
    separator = r.choice([",", " ", ";", "\t", ", "])
    start = r.choice(["", "\ufeff", "# c\n", "A,B\n", "\n\n"])
    rows = [
        separator.join(r.choice([str(number)] * 12 + TEXT_NUMBERS) for number in row) for row in TPM
    ]
    text = start + "\n".join(rows)
    return text.encode("utf-8", "replace") * r.choice([1, 1, 1, 0, 2, 500])


# Files

PLACES_OF_TABLES = [
    *("folder", "loop", "fifo", "nope.npy", "/etc/passwd", "../" * 20 + "etc/passwd"),
    *("m" * 300 + ".npy", "\0.npy", "folder.npy", "fifo.npy", "loop.npy", ".npy", ""),
    *("fifo.json", "folder.csv", "/dev/zero", "x\ny.npy", "\ud800.npy"),
]


def write_study(r: Random, folder: Path) -> str:
    """Write a malformed study, and a table that it may read; return the name of its file."""
    if r.random() >= 0.25:
        content, suffix = study_text(r, mutated(r, r.choice(STUDIES)))
    else:
        name = r.choice(TABLE_FILES)
        (folder / name).write_bytes(table_content(r, name))
        content, suffix = study_of_table(r, name)
    file = f"case{suffix}"
    (folder / file).write_bytes(content)
    return file


def study_of_table(r: Random, name: str) -> tuple[bytes, str]:
    study: Any = {"substrate": {"tpm": name}, "state": "10"}
    study["compute"] = r.choice(["sia", "ces", "complexes"])
    kind = r.random()
    if kind < 0.15:
        study = mutated(r, study)
    elif kind < 0.25:
        study["substrate"]["tpm"] = r.choice(PLACES_OF_TABLES)
    elif kind < 0.3 and name.endswith(("json", "npz")):
        study = {"compute": "sia", "sweep": {"substrate": [name], "state": "all"}}
    try:
        return yaml.safe_dump(study, sort_keys=False).encode("utf-8", "replace"), ".yaml"
    except (yaml.YAMLError, RecursionError):
        return study_text(r, study)


def trial_random(seed: object, number: int) -> Random:
    """Return the random source of a trial, which depends on seed and number alone."""
    return Random(f"{seed}-{number}")
