"""The reference of the command line, written from the commands when the site is built."""

from pathlib import Path

from iitdask.cli.app import all_commands

FILE = Path(__file__).parent / "generated" / "commands.md"


def reference():
    """Return a section for each command, from its signature and docstring."""
    text = all_commands().generate_docs(output_format="markdown", heading_level=1)
    return text[text.index("## iitdask ") :]


def write_reference(_app):
    """Write the file that the page on the command line includes."""
    text = reference()
    FILE.parent.mkdir(exist_ok=True)
    if not FILE.exists() or FILE.read_text(encoding="utf-8") != text:
        FILE.write_text(text, encoding="utf-8")


def setup(app):
    """Write the reference before sources are read."""
    app.connect("builder-inited", write_reference)
    return {"parallel_read_safe": True}
