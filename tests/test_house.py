"""The house keeps its own rules."""

import ast
import importlib
import importlib.util
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import iitdask as iit
from tests import house
from tests.house import FUNCTIONS, parsed

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "iitdask"
FILES = sorted(PACKAGE.rglob("*.py"))
IDS = [str(path.relative_to(ROOT)) for path in FILES]
PUBLIC = [
    "IIT3",
    "IIT4",
    "IIT42026",
    "Substrate",
    "__version__",
    "account",
    "causal_nexus",
    "ces",
    "compare",
    "complexes",
    "dynamics",
    "errors",
    "estimate",
    "examples",
    "explain",
    "formats",
    "grains",
    "load",
    "matching",
    "mechanism",
    "macro_tables",
    "open",
    "partition",
    "perception",
    "plot",
    "relations",
    "repertoire",
    "search",
    "sia",
    "sweep",
    "true_events",
    "unit",
]
AT_THE_TOP = {
    ".ci",
    ".git",
    ".gitattributes",
    ".gitignore",
    ".pre-commit-config.yaml",
    "CHANGELOG.md",
    "CITATION.cff",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "deploy",
    "docs",
    "iitdask",
    "pyproject.toml",
    "tests",
    "workflows",
}


def body_lines(function):
    """Lines of a function without its docstring."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        lines -= function.body[0].end_lineno - function.body[0].lineno + 1
    return lines


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_file__has_at_most_600_lines(path):
    most = 400 if path.is_relative_to(PACKAGE / "kernels") else 600
    assert len(path.read_text(encoding="utf-8").splitlines()) <= most


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_functions__have_at_most_60_lines(path):
    functions = [node for node in ast.walk(parsed(path)) if isinstance(node, FUNCTIONS)]
    long = {f.name: body_lines(f) for f in functions if body_lines(f) > 60}
    assert not long


def test_names__are_those_of_the_glossary():
    avoided = house.unused_names(ROOT / "docs" / "glossary.md")
    assert len(avoided) > 200
    assert house.avoided_names_in_use(PACKAGE, avoided) == []


def test_file_names__occur_once():
    assert house.repeated_file_names(PACKAGE) == []


def test_small_modules__have_two_importers():
    entries = house.entry_points(ROOT / "pyproject.toml")
    bad = house.small_modules_with_one_importer(PACKAGE, entries)
    assert bad == []


def test_imports__go_down_only():
    numbers = house.floors(ROOT / "pyproject.toml")
    assert len(numbers) > 8
    assert house.upward_imports(PACKAGE, numbers) == []


API = [*(PACKAGE / "api").glob("*.py"), PACKAGE / "model" / "readers.py"]
"""Files of functions that users call: each shows an example and what it raises."""
DOCUMENTED = [
    *API,
    PACKAGE / "model" / "examples.py",
    PACKAGE / "result" / "relation_iteration.py",
    PACKAGE / "view" / "plot.py",
]


def test_functions__have_the_sections_of_numpydoc():
    bad = []
    for path in sorted(DOCUMENTED):
        sections = ("Raises", "Examples") if path in API else ()
        bad += house.docstring_errors(path, PACKAGE, sections)
    assert bad == []


def test_theories_and_kernels__have_sections_where_they_cite_an_equation():
    bad = []
    for path in [*(PACKAGE / "theory").rglob("*.py"), *(PACKAGE / "kernels").rglob("*.py")]:
        bad += house.docstring_errors(path, PACKAGE, cited_only=True)
    assert bad == []


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_file__says_what_the_room_is_for(path):
    assert ast.get_docstring(parsed(path)), path


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_all__names_what_exists(path):
    if path.name == "__main__.py":
        return
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    names = getattr(module, "__all__", [])
    assert [name for name in names if not hasattr(module, name)] == []
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_print__is_for_the_command_line_only(path):
    if path.is_relative_to(PACKAGE / "cli"):
        return
    calls = [node.func for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
    assert "print" not in [f.id for f in calls if isinstance(f, ast.Name)]


def test_strategies__draw_from_hypothesis_alone():
    files = [path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)]
    imports = {path: house.top_level_imports(path) for path in files}
    users = [path for path, names in imports.items() if "hypothesis" in names]
    assert len(users) > 10
    assert [path.name for path in users if "random" in imports[path]] == []


def test_all__is_sorted_and_exact():
    assert sorted(PUBLIC) == iit.__all__
    # One function per question: of systems, transitions, macro units, perception, distributions,
    # dynamics and searches, beside what describes substrates and what opens and compares results.
    assert len(iit.__all__) <= 32
    for name in iit.__all__:
        assert getattr(iit, name) is not None


IMPORT = """
import sys
from collections import Counter
import iitdask
heavy = {"bokeh", "distributed", "dask", "numba", "xarray", "zarr", "numpy", "rich", "cyclopts"}
print(*sorted(heavy & set(sys.modules)))
"""


KERNELS = {"inner", "kernel", "leaf", "merged"}


def module_name(path):
    """Dotted name of a module of the package or the tests."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def decorations(node):
    names = getattr(node, "decorator_list", ())
    return {each.id for each in names if isinstance(each, ast.Name)}


def inner_kernels():
    """Kernels without an entry from Python, by module."""
    return {
        module_name(path): {
            node.name for node in parsed(path).body if decorations(node) & {"inner", "merged"}
        }
        for path in (PACKAGE / "kernels").rglob("*.py")
    }


def called_from_python(path, inner):
    """Inner kernels that code of a file mentions outside of kernels."""
    tree = parsed(path)
    known = set(inner.get(module_name(path), ()))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in inner:
            known |= {each.name for each in node.names} & inner[node.module]
    python = [node for node in tree.body if not decorations(node) & KERNELS]
    mentioned = {
        each.id for node in python for each in ast.walk(node) if isinstance(each, ast.Name)
    }
    return known & mentioned


def test_inner_kernels__are_called_by_kernels_only():
    inner = inner_kernels()
    assert sum(map(len, inner.values())) > 20
    code = [*FILES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "workflows").rglob("*.py")]
    assert {str(path): found for path in code if (found := called_from_python(path, inner))} == {}


def test_merged_kernels__are_called_once_by_a_kernel():
    """More calls in one would compile them as often; none anywhere, not at all."""
    nodes = [node for path in (PACKAGE / "kernels").rglob("*.py") for node in parsed(path).body]
    merged = {node.name for node in nodes if "merged" in decorations(node)}
    assert len(merged) > 10
    calls = [
        Counter(
            each.func.id
            for each in ast.walk(node)
            if isinstance(each, ast.Call) and isinstance(each.func, ast.Name)
        )
        for node in nodes
    ]
    most = {name: max(count[name] for count in calls) for name in merged}
    assert {name: count for name, count in most.items() if count != 1} == {}


def fresh(code):
    """What another interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout.split()


def test_import__loads_nothing_heavy():
    assert fresh(IMPORT) == []


def test_run__in_memory_loads_no_cluster_and_no_figures():
    run = "import iitdask; iitdask.sia(iitdask.examples.load('basic'), '100')"
    assert not {"bokeh", "distributed", "rich"} & set(fresh(IMPORT.replace("import iitdask", run)))


def test_help__loads_nothing_heavy():
    code = IMPORT.replace("import iitdask", "import iitdask.cli.app as app").replace(
        "heavy =", "try: app.main(['--help'])\nexcept SystemExit: pass\nheavy ="
    )
    loaded = fresh(code.replace("print(", "print('LOADED', "))
    assert loaded[loaded.index("LOADED") + 1 :] == []


@pytest.mark.skipif(
    importlib.util.find_spec("importlinter") is None, reason="import-linter is not installed"
)
def test_import_contracts__hold():
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--no-cache"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout
    assert " 0 broken" in done.stdout


def test_top_level__holds_only_what_belongs_there():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    if listed.returncode == 0:
        names = {line.split("/")[0] for line in listed.stdout.splitlines()}
    else:  # an archive without history
        names = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert names <= AT_THE_TOP


@pytest.mark.parametrize("name", iit.examples.names())
def test_examples__all_load_with_their_state(name):
    substrate = iit.examples.load(name)
    assert len(iit.examples.state(name)) == substrate.n_units
