"""YAML and JSON files, read strictly: nothing in them is dropped, and nothing in them is run.

Of YAML the types of JSON are read, as version 1.2 writes them: ``true`` and ``false`` alone are
booleans, ``on``, ``no`` and dates are text. Keys that are given twice, numbers that would lose
their leading zeros, and aliases that stand for millions of values are refused with their lines.
"""

from __future__ import annotations

import json
import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import yaml
from yaml.constructor import SafeConstructor
from yaml.events import AliasEvent
from yaml.nodes import MappingNode, Node, ScalarNode

from iitdask.errors import InputError, quote

MAX_DEPTH = 100  # Lists and mappings inside each other
MAX_REPEATED_VALUES = 10**6  # Values that aliases may stand for
MAX_DIGITS = 300  # Of an integer; a float holds no larger one
MAX_MEMORY_SHARE = 0.5  # Share of this machine's memory that a file may take
TOO_DEEP = f"nested more than {MAX_DEPTH} deep"
TOO_LONG = f"expected a number, got an integer of more than {MAX_DIGITS} digits"
HALF_PAIR = "expected text, got half of a surrogate pair"
TAG = "tag:yaml.org,2002:"
ZEROS_TAG = "!zeros"  # Of numbers with leading zeros
MERGE_TAG = f"{TAG}merge"
BOOLEAN = re.compile(r"(?:true|false)\Z")
INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*|0o[0-7]+|0x[0-9a-fA-F]+)\Z")
FLOAT = re.compile(
    r"(?:[-+]?(?:(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))"
    r"|\.(?:nan|NaN|NAN))\Z"
)
PLAIN_SCALARS = (
    (f"{TAG}bool", BOOLEAN, ["t", "f"]),
    (f"{TAG}null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""]),
    (MERGE_TAG, re.compile(r"<<\Z"), ["<"]),
    (f"{TAG}int", INTEGER, list("-+0123456789")),
    (ZEROS_TAG, re.compile(r"[-+]?0[0-9]+\Z"), list("-+0")),
    (f"{TAG}float", FLOAT, list("-+.0123456789")),
)
"""Tag, pattern and first characters of scalars without quotes: the core schema of YAML 1.2."""


def path_text(path: Any, expected: str, error: type[InputError] = InputError) -> str:
    """Return a path or address as text; an error that says what was expected if it is none."""
    with suppress(TypeError):
        text = os.fspath(path)
        if isinstance(text, str):
            return text
    raise error(f"{expected}, got {quote(path)}")


def read_document(path: Path, error: type[InputError], expected: str = "a readable file") -> Any:
    """Return the content of a YAML file, or of a JSON file if its name ends so."""
    content = read_file(path, error, expected)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise error(f"{path}: expected text in UTF-8: {problem}") from problem
    try:
        return _parse_json(text) if path.suffix.lower() == ".json" else _parse_yaml(text)
    except ValueError as problem:
        raise error(f"{path}: {problem}") from problem


def read_file(path: Path, error: type[InputError], expected: str = "a readable file") -> bytes:
    """Return the content of a regular file; a FIFO or a device might never end."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode) and not stat.S_ISDIR(about.st_mode):
            reason = "not a regular file"
        else:
            require_memory(about.st_size)
            return path.read_bytes()
    except OSError as problem:
        reason = problem.strerror or "cannot be read"
    except (ValueError, MemoryError) as problem:  # a null byte, or half of a surrogate pair
        reason = str(problem) or "larger than the memory"
    raise error(f"{path}: expected {expected}: {reason}")


def require_memory(size: int) -> None:
    """Raise MemoryError if so many bytes take more than a share of this machine's memory."""
    if size > MAX_MEMORY_SHARE * psutil.virtual_memory().total:
        raise MemoryError(f"its {size} bytes are too many for the memory of this machine")


def _is_text(text: str) -> bool:
    """Return False if a text holds half of a surrogate pair, which no file can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refusal(problem: str, mark: Any) -> ValueError:
    return ValueError(f"line {mark.line + 1}: {problem}")


class _Loader(yaml.SafeLoader):
    """Composes nodes with limits, and makes values of the types of JSON alone."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - as the base class has it

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = self.count = 0
        self.sizes: dict[int, tuple[int, int]] = {}  # Values and height of each complete node

    def compose_node(self, parent: Node | None, index: Any) -> Node:
        """Compose a node; refuse deep ones, and those with too many values behind aliases."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        self.depth += 1
        self.count += 1
        if self.depth > MAX_DEPTH:
            raise _refusal(TOO_DEEP, mark)
        is_alias = self.check_event(AliasEvent)
        node = super().compose_node(parent, index)
        assert node is not None
        self.depth -= 1
        if is_alias:
            if id(node) not in self.sizes:  # it is not complete yet
                raise _refusal("a value holds itself", mark)
            return node
        values, height = self.sizes[id(node)] = self._size(node)
        if height > MAX_DEPTH:
            raise _refusal(TOO_DEEP, mark)
        if values > self.count + MAX_REPEATED_VALUES:
            problem = f"aliases that stand for more than {MAX_REPEATED_VALUES} values"
            raise _refusal(problem, mark)
        return node

    def _size(self, node: Node) -> tuple[int, int]:
        """Return how many values a node stands for, and how deep they are nested."""
        if isinstance(node, ScalarNode):
            return 1, 0
        children = node.value
        if isinstance(node, MappingNode):
            _require_distinct_keys(node)
            children = [each for pair in children for each in pair]
        sizes = [self.sizes[id(each)] for each in children]
        return 1 + sum(s for s, _ in sizes), 1 + max((h for _, h in sizes), default=0)

    def construct_text(self, node: Any) -> str:
        """Return a text."""
        text = str(self.construct_scalar(node))
        if not _is_text(text):
            raise _refusal(HALF_PAIR, node.start_mark)
        return text

    def construct_boolean(self, node: Any) -> bool:
        """Return a boolean."""
        return self._matched(node, BOOLEAN, "true or false") == "true"

    def construct_integer(self, node: Any) -> int:
        """Return an integer."""
        text = self._matched(node, INTEGER, "an integer")
        if len(text) > MAX_DIGITS:
            raise _refusal(TOO_LONG, node.start_mark)
        return int(text, 0)

    def construct_float(self, node: Any) -> float:
        """Return a float."""
        text = self._matched(node, FLOAT, "a number").lower()
        return float(text.replace(".", "") if text.endswith(("inf", "nan")) else text)

    def construct_zeros(self, node: Any) -> Any:
        """Refuse a number whose zeros would be lost."""
        shown = quote(node.value)
        problem = f"zeros at the begin of {shown[1:-1]} would be lost; quote it: {shown}"
        raise _refusal(problem, node.start_mark)

    def _matched(self, node: Any, pattern: re.Pattern[str], expected: str) -> str:
        text = str(self.construct_scalar(node))
        if not pattern.match(text):
            problem = f"expected {expected}, got {quote(text)}"
            raise _refusal(problem, node.start_mark)
        return text


for _tag, _pattern, _first in PLAIN_SCALARS:
    _Loader.add_implicit_resolver(_tag, _pattern, _first)
_Loader.yaml_constructors = {
    f"{TAG}str": _Loader.construct_text,
    f"{TAG}bool": _Loader.construct_boolean,
    f"{TAG}int": _Loader.construct_integer,
    f"{TAG}float": _Loader.construct_float,
    f"{TAG}null": SafeConstructor.construct_yaml_null,
    f"{TAG}seq": SafeConstructor.construct_yaml_seq,
    f"{TAG}map": SafeConstructor.construct_yaml_map,
    ZEROS_TAG: _Loader.construct_zeros,
    None: SafeConstructor.construct_undefined,
}


def _require_distinct_keys(node: MappingNode) -> None:
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if not isinstance(key, ScalarNode) or key.tag == MERGE_TAG:
            continue
        name, line = (key.tag, key.value), key.start_mark.line + 1
        if name in lines:
            problem = f"key {quote(key.value)} is given twice, first in line {lines[name]}"
            raise _refusal(problem, key.start_mark)
        lines[name] = line


def _parse_yaml(text: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position)
        problem = f"got the character #x{error.character:04x}"
        raise ValueError(f"line {line + 1}: expected YAML, {problem}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _refusal(f"expected YAML, {error.problem or error.context}", mark) from error


class _RepeatedKeyError(ValueError):
    """A key of a mapping is given twice."""


def _parse_json(text: str) -> Any:
    try:
        content = json.loads(text, parse_int=_json_integer, object_pairs_hook=_json_mapping)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}: expected JSON, {error.msg}") from error
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error
    except _RepeatedKeyError:
        _parse_yaml(text.replace("\t", " "))  # JSON is YAML, whose parser knows the lines
        raise
    level = [content]
    for _ in range(MAX_DEPTH + 1):
        if not all(_is_text(each) for each in level if isinstance(each, str)):
            raise ValueError(HALF_PAIR)
        level = [child for each in level for child in _children(each)]
        if not level:
            return content
    raise ValueError(TOO_DEEP)


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list) else []


def _json_integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(TOO_LONG)
    return int(text)


def _json_mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise _RepeatedKeyError(f"key {quote(key)} is given twice")
        content[key] = value
    return content
