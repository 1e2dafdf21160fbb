"""The sheet of paper: the page around the figures, its text and headings."""

from __future__ import annotations

from typing import Any

from bokeh.models import Div

__all__ = ["TEMPLATE", "WIDTH", "heading", "text"]

WIDTH = 1240
TEMPLATE = """
{% block preamble %}
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
  body { font: 14px/1.45 system-ui, "DejaVu Sans", sans-serif; color: #222; margin: 0; }
  main { padding: 12px 16px; }
  h1 { font-size: 20px; margin: 0 0 8px; }
</style>
<script>
  // Tables keep the Tab key for their cells and would never let go of it; arrows move there.
  const isTable = (part) => part.classList?.contains("bk-data-table")
    || part.host?.classList?.contains("bk-DataTable")
  document.addEventListener("keydown", (event) => {
    if (event.key === "Tab" && event.composedPath().some(isTable)) event.stopPropagation()
  }, true)
</script>
{% endblock %}
{% block inner_body %}<main><h1>{{ title | e }}</h1>{{ super() }}</main>{% endblock %}
"""
STYLE = """
:host { font: 13px/1.45 system-ui, "DejaVu Sans", sans-serif; color: #222; }
h2 { font-size: 16px; margin: 14px 0 4px; border-bottom: 1px solid #D9D9D9; }
table.facts { border-collapse: collapse; }
table.facts th { text-align: left; font-weight: 600; padding: 1px 14px 1px 0; vertical-align: top;
  white-space: nowrap; }
table.facts td { padding: 1px 0; overflow-wrap: anywhere; }
table.rows { border-collapse: collapse; }
table.rows th, table.rows td { padding: 2px 14px 2px 0; border-bottom: 1px solid #EEEEEE; }
table.rows th { text-align: left; font-weight: 600; }
table.rows td { font-variant-numeric: tabular-nums; vertical-align: top; }
p { margin: 2px 0; }
p.key { color: #555; margin-top: 8px; }
"""


def text(html: str, width: int = WIDTH, **options: Any) -> Div:
    """Put HTML, already escaped, on the page."""
    return Div(text=html, width=width, stylesheets=[STYLE], disable_math=True, **options)


def heading(title: str, note: str = "") -> Div:
    """Begin a section."""
    return text(f"<h2>{title}</h2>" + (f"<p>{note}</p>" if note else ""))
