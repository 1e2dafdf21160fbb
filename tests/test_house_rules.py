"""Each rule of the house on a small package that breaks it, and on one that does not."""

import pytest

from tests import house

PYPROJECT = """
[project]
name = "toy"
[project.scripts]
toy = "toy.cli.app:main"
[[tool.importlinter.contracts]]
name = "floors"
type = "layers"
layers = ["toy.cli | toy.api", "toy.run", "toy.theory | toy.cluster", "toy.kernels", "toy.errors"]
"""
GLOSSARY = """
| term | meaning |
|---|---|
| `phi` | integrated information |

## Names that are not used

| not | instead |
|---|---|
| `pantry` | stage cache; `StageCache` |
| `Jar` | `CacheEntry` |
| `found` | `open` |

## Another part

| `kept` | a word that is free |
"""


@pytest.fixture
def toy(tmp_path):
    """Write a package from the text of its files; give its folder."""
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "glossary.md").write_text(GLOSSARY)
    package = tmp_path / "toy"

    def write(**files):
        for name, text in {"__init__": "", **files}.items():
            path = package / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return package

    return write


def test_unused_names__are_the_first_column_of_their_own_table(tmp_path, toy):
    toy()
    assert house.unused_names(tmp_path / "glossary.md") == {"pantry", "Jar", "found"}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("run/pantry", "", ["toy/run/pantry.py: file pantry"]),
        ("pantry/__init__", "", ["toy/pantry/__init__.py: file pantry"]),
        ("run/a", "class Jar: pass", ["toy/run/a.py: Jar"]),
        ("run/a", "class _Jar: pass", ["toy/run/a.py: Jar"]),
        ("run/a", "def found(): pass", ["toy/run/a.py: found"]),
        ("run/a", "class Entry:\n    async def found(self): pass", ["toy/run/a.py: found"]),
        ("run/a", "def _found(found): jar = found", []),
        ("run/a", "class Found:\n    def kept(self): return 'pantry'", []),
    ],
)
def test_avoided_names__are_noticed_as_file_class_and_function(name, text, expected, toy):
    package = toy(**{name: text})
    avoided = {"pantry", "Jar", "found"}
    assert house.avoided_names_in_use(package, avoided) == expected


def test_repeated_file_names__are_noticed_outside_of_theories(toy):
    theories = {f"theory/{name}/__init__": "" for name in ("iit3", "iit4")}
    package = toy(**theories, **{"run/plan": "", "cli/plan": "", "theory/iit4/plans": ""})
    assert house.repeated_file_names(package) == ["plan: cli/plan.py, run/plan.py"]


def test_repeated_file_names__may_repeat_between_theories_only(toy):
    theories = {f"theory/{name}/__init__": "" for name in ("iit3", "iit4")}
    same = {"theory/iit3/recipe": "", "theory/iit4/recipe": "", "kernels/iit3/recipe": ""}
    assert house.repeated_file_names(toy(**theories, **same)) == []
    expected = "recipe: kernels/iit3/recipe.py, run/recipe.py, theory/iit3/recipe.py"
    [bad] = house.repeated_file_names(toy(**{"run/recipe": ""}))
    assert bad == f"{expected}, theory/iit4/recipe.py"


IMPORTS = {
    "run/by_from": "from toy.run.small import value",
    "run/by_package": "from toy.run import small",
    "run/by_import": "import toy.run.small",
    "cli/by_string": "COMMANDS = {'run': 'toy.run.small:value'}",
}


@pytest.mark.parametrize("importer", IMPORTS)
def test_small_modules__need_two_importers_of_any_kind(importer, toy):
    large = "#\n" * house.SMALL_LINES
    files = {name: f"{text}\n{large}" for name, text in IMPORTS.items()}
    package = toy(**{"run/small": "value = 1\n", importer: files[importer]}, **{"run/big": large})
    bad = house.small_modules_with_one_importer(package)
    name = f"toy.{importer.replace('/', '.')}"
    assert bad == [f"toy.run.small: 1 lines, imported by {name}"]
    assert house.small_modules_with_one_importer(toy(**files)) == []


def test_small_modules__that_nobody_imports_are_noticed(toy):
    package = toy(**{"run/small": "value = 1\n"})
    bad = ["toy.run.small: 1 lines, imported by none"]
    assert house.small_modules_with_one_importer(package) == bad
    assert house.small_modules_with_one_importer(package, {"toy.run.small"}) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("run/__init__", ""),
        ("__main__", ""),
        ("run/compat", ""),
        ("run/small", "class Public: pass"),
        ("run/large", "#\n" * house.SMALL_LINES),
    ],
)
def test_small_modules__may_be_what_is_exempt(name, text, toy):
    assert house.small_modules_with_one_importer(toy(**{name: text})) == []
    assert house.small_modules_with_one_importer(toy(**{"run/other": "class _Private: pass"}))


def test_entry_points__are_read_from_the_project(tmp_path, toy):
    toy()
    assert house.entry_points(tmp_path / "pyproject.toml") == {"toy.cli.app"}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("kernels/a", "from toy.run import b", ["toy.kernels.a imports toy.run.b"]),
        ("kernels/a", "from toy.run.b import c", ["toy.kernels.a imports toy.run.b"]),
        ("kernels/a", "def f():\n    import toy.run.b", ["toy.kernels.a imports toy.run.b"]),
        ("theory/a", "from toy.cluster import d", ["toy.theory.a imports toy.cluster.d"]),
        ("api", "from toy.cli import app", ["toy.api imports toy.cli.app"]),
        ("run/a", "import toy.__main__", ["toy.run.a imports toy.__main__"]),
        ("utils", "", ["toy.utils lies on no floor"]),
        ("run/a", "from toy.run import b\nfrom toy.errors import e\nimport numpy", []),
        ("kernels/a", "VIEW = 'toy.cli.app:main'", []),
        ("__main__", "from toy.cli import app", []),
    ],
)
def test_upward_imports__are_noticed(name, text, expected, tmp_path, toy):
    others = {"run/b": "", "cluster/d": "", "errors": "", "cli/app": "", "__main__": ""}
    package = toy(**{**others, name: text})
    numbers = house.floors(tmp_path / "pyproject.toml")
    assert numbers["toy.errors"] == 0
    assert numbers["toy.cli"] == numbers["toy.api"] == 4
    assert house.upward_imports(package, numbers) == expected


BARE = '''
def twice(x):
    """Return twice a number."""
    return 2 * x
'''
FULL = '''
def twice(x):
    """Return twice a number.

    Parameters
    ----------
    x : float
        The number, in bits.

    Returns
    -------
    float
        Twice the number, in bits.
    """
    return 2 * x
'''


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (BARE, ["does not document every parameter", "has no section Returns"]),
        ("def none(): pass", ["has no docstring"]),
        (FULL, []),
        (FULL.replace("def twice(x)", "def twice(x, y)"), ["does not document every parameter"]),
        (
            FULL.replace("def twice(x)", "def twice()"),
            ["documents a parameter that does not exist"],
        ),
        (FULL.replace("return 2", "yield 2"), ["has no section Yields"]),
        ("__all__ = ['other']" + BARE, []),
        ("__all__ = ['twice']" + FULL + BARE.replace("twice", "other"), []),
        ("def _private(x): return x", []),
    ],
)
def test_docstrings__are_validated(text, expected, toy):
    package = toy(**{"run/a": text})
    found = house.docstring_errors(package / "run" / "a.py", package)
    assert [line.split(" ", 1)[1] for line in found] == expected


def test_docstrings__may_need_more_sections(toy):
    package = toy(api=FULL)
    bad = house.docstring_errors(package / "api.py", package, ("Returns", "Raises"))
    assert bad == ["toy.api.twice has no section Raises"]


def test_docstrings__may_be_looked_at_only_where_an_equation_is_cited(toy):
    cited = BARE.replace("number.", "number.\n\n    References\n    ----------\n    Eq. (1).\n    ")
    package = toy(**{"run/a": BARE, "run/b": cited})
    assert house.docstring_errors(package / "run" / "a.py", package, cited_only=True) == []
    bad = house.docstring_errors(package / "run" / "b.py", package, cited_only=True)
    assert "toy.run.b.twice has no section Returns" in bad
