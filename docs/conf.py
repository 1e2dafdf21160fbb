"""Configuration of the documentation: ``python -m sphinx -b html -W docs OUT``."""

import os
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

from latex2mathml.converter import convert

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

project = "iitdask"
author = "The iitdask developers"
copyright = "the iitdask developers, BSD-3-Clause"
release = version = installed_version("iitdask")

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "command_line_reference",
]
exclude_patterns = ["README.md", "generated", "**.ipynb_checkpoints"]
nitpicky = False
html_theme = "furo"
html_title = "iitdask"
html_static_path = ["_static"]
html_css_files = ["iitdask.css"]
html_math_renderer = "mathml"
html_copy_source = False

smartquotes_action = "qe"  # the two dashes of an option are no longer dash
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
myst_dmath_double_inline = True

nb_execution_mode = os.environ.get("IITDASK_DOCS_EXECUTION", "force")
nb_execution_timeout = 1200  # seconds of a cell, which may compile on a busy machine
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_merge_streams = True

numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autosummary_generate = True


def mathml(formula, *, is_block):
    """Return a formula as MathML, which browsers show without any script."""
    number = None
    formula = formula.replace("\\setminus", "\\backslash")  # few fonts have its own sign
    if "\\tag{" in formula:
        before, _, rest = formula.partition("\\tag{")
        number, _, after = rest.partition("}")
        formula = before + after
    markup = convert(formula.strip(), display="block" if is_block else "inline")
    if not is_block:
        return markup
    label = f'<span class="equation-number">({number})</span>' if number else ""
    return f'<div class="equation">{markup}{label}</div>'


def visit_inline(translator, node):
    """Write a formula within a line."""
    from docutils import nodes

    translator.body.append(mathml(node.astext(), is_block=False))
    raise nodes.SkipNode


def visit_block(translator, node):
    """Write a formula of its own."""
    from docutils import nodes

    translator.body.append(mathml(node.astext(), is_block=True))
    raise nodes.SkipNode


def setup(app):
    """Register the renderer of formulas."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
