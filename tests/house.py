"""Rules of the house as functions of a package, so that each can be tried on one that breaks it.

Every rule returns what breaks it: a sorted list of lines, each with a file or module.
"""

import ast
import re
import tomllib
from collections import defaultdict
from functools import cache

from numpydoc.hooks.validate_docstrings import AstValidator
from numpydoc.validate import validate

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
IMPORT_STRING = re.compile(r"\w+(\.\w+)+(:\w+)?")
SMALL_LINES = 150
SPECIAL_STEMS = {"__init__", "__main__", "compat"}
THEORY_FLOORS = {"kernels", "theory"}
"""Floors that may have sub-packages by theory, in which names of files repeat."""


@cache
def parsed_text(text):
    return ast.parse(text)


def parsed(path):
    return parsed_text(path.read_text(encoding="utf-8"))


def module_name(path, package):
    """Return the dotted name of a file of a package."""
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules(package):
    """Return the path of every module of a package, by dotted name."""
    return {module_name(path, package): path for path in sorted(package.rglob("*.py"))}


# Names


def unused_names(glossary):
    """Return the first column of the glossary's table of names that are not used."""
    text = glossary.read_text(encoding="utf-8").partition("## Names that are not used")[2]
    return set(re.findall(r"^\| `(\w+)` \|", text.partition("\n## ")[0], re.MULTILINE))


def public_names(tree):
    """Yield every class and every public function or method of a module."""
    for node in tree.body:
        if isinstance(node, FUNCTIONS):
            yield node.name
        elif isinstance(node, ast.ClassDef):
            yield node.name.removeprefix("_")
            yield from public_names(node)


def avoided_names_in_use(package, avoided):
    """Return files, packages, classes, public functions and methods with a name to be avoided."""
    bad = []
    for path in sorted(package.rglob("*.py")):
        where = path.relative_to(package.parent)
        stem = path.parent.name if path.stem == "__init__" else path.stem
        bad += [f"{where}: file {stem}"] * (stem in avoided)
        bad += [f"{where}: {name}" for name in public_names(parsed(path)) if name in avoided]
    return sorted(bad)


def theory_packages(package):
    """Return the names of the sub-packages of `theory`, one for each theory."""
    return {path.parent.name for path in package.glob("theory/*/__init__.py")}


def repeated_file_names(package):
    """Return base names that two files have of which not both lie in a sub-package of a theory."""
    theories = theory_packages(package)
    by_stem = defaultdict(list)
    for path in sorted(package.rglob("*.py")):
        if path.stem not in SPECIAL_STEMS:
            by_stem[path.stem].append(path.relative_to(package))
    return [
        f"{stem}: {', '.join(map(str, paths))}"
        for stem, paths in sorted(by_stem.items())
        if sum(not lies_in_theory_package(path, theories) for path in paths) and len(paths) > 1
    ]


def lies_in_theory_package(path, theories):
    return len(path.parts) == 3 and path.parts[0] in THEORY_FLOORS and path.parts[1] in theories


# Imports


def imported_modules(tree, known):
    """Return the modules of a package that a file imports by a statement."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & known or {node.module}
            found |= {node.module} if names - known else set()
    return found & known


def modules_in_strings(tree):
    """Return the modules that strings such as ``iitdask.cli.app:main`` name, to be loaded late."""
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    texts = {text for text in constants if isinstance(text, str)}
    return {text.partition(":")[0] for text in texts if IMPORT_STRING.fullmatch(text)}


def importing_modules(package):
    """Return the modules that import each module of a package."""
    paths = modules(package)
    importing = {name: set() for name in paths}
    for name, path in paths.items():
        tree = parsed(path)
        found = imported_modules(tree, set(paths)) | (modules_in_strings(tree) & set(paths))
        for target in found - {name}:
            importing[target].add(name)
    return importing


def entry_points(pyproject):
    """Return the modules that the package's scripts and entry points start in."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    groups = [project.get("scripts", {}), *project.get("entry-points", {}).values()]
    return {text.partition(":")[0] for group in groups for text in group.values()}


def small_modules_with_one_importer(package, entries=frozenset()):
    """Return short modules that only one other module imports, or none."""
    bad = []
    paths = modules(package)
    for name, importing in sorted(importing_modules(package).items()):
        path = paths[name]
        lines = len(path.read_text(encoding="utf-8").splitlines())
        exempt = path.stem in SPECIAL_STEMS or name in entries or defines_public_class(path)
        if lines < SMALL_LINES and len(importing) <= 1 and not exempt:
            bad.append(f"{name}: {lines} lines, imported by {', '.join(importing) or 'none'}")
    return bad


def defines_public_class(path):
    classes = [node.name for node in parsed(path).body if isinstance(node, ast.ClassDef)]
    return any(not name.startswith("_") for name in classes)


def floors(pyproject):
    """Return the number of each floor, the lowest 0, from the layers that import-linter checks."""
    tool = tomllib.loads(pyproject.read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = next(each["layers"] for each in tool["contracts"] if each["type"] == "layers")
    return {
        name.strip(): number
        for number, layer in enumerate(reversed(layers))
        for name in layer.split("|")
    }


def floor_of(module, numbers):
    """Return the floor on which a module lies, or None for the package itself."""
    floor = ".".join(module.split(".")[:2])
    return floor if floor in numbers else None


def upward_imports(package, numbers):
    """Return imports of a floor above, or of another floor of the same height.

    A module that lies on no floor is one, too; only the package itself and its `__main__` may.
    Names in strings are not: a table may say what is loaded when it is used.
    """
    bad = []
    paths = modules(package)
    roofs = {package.name, f"{package.name}.__main__"}
    for name, path in paths.items():
        below = floor_of(name, numbers)
        if below is None:
            bad += [f"{name} lies on no floor"] * (name not in roofs)
            continue
        for target in imported_modules(parsed(path), set(paths)):
            above = floor_of(target, numbers)
            upward = above not in (None, below) and numbers[above] >= numbers[below]
            if upward or target == f"{package.name}.__main__":
                bad.append(f"{name} imports {target}")
    return sorted(bad)


# Docstrings


def exported_functions(tree):
    """Yield the functions that a module exports: those in `__all__`, or all that are public."""
    exported = None
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == ["__all__"]:
            exported = set(ast.literal_eval(node.value))
    for node in tree.body:
        public = isinstance(node, FUNCTIONS) and not node.name.startswith("_")
        if public and (exported is None or node.name in exported):
            yield node


SECTIONS = {
    "GL08": "has no docstring",
    "PR01": "does not document every parameter",
    "PR02": "documents a parameter that does not exist",
    "RT01": "has no section Returns",
    "YD01": "has no section Yields",
}
"""What numpydoc's codes say."""


def docstring_errors(path, package, sections=(), cited_only=False):
    """Return what numpydoc misses of the functions that a module exports.

    Parameters
    ----------
    path : Path
        File of the module.
    package : Path
        Folder of the package.
    sections : sequence of str
        Sections that each of them must have beside those that numpydoc expects of it.
    cited_only : bool
        Look only at functions that implement an equation: those with a section References.
    """
    bad = []
    tree, module = parsed(path), module_name(path, package)
    for node in exported_functions(tree):
        text = ast.get_docstring(node) or ""
        if cited_only and "\nReferences\n" not in text:
            continue
        name = f"{module}.{node.name}"
        how = {"ast_node": node, "filename": path, "ancestry": [tree]}
        errors = validate(name, AstValidator, **how)["errors"]
        bad += [f"{name} {SECTIONS[code]}" for code, _ in errors if code in SECTIONS]
        bad += [
            f"{name} has no section {section}"
            for section in sections
            if f"\n{section}\n{'-' * len(section)}\n" not in text
        ]
    return bad


def top_level_imports(path):
    """Return the top-level names of the modules that a file imports."""
    names = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names
