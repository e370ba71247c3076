"""The tables of modules in the parts' READMEs, made of the modules' own first sentences.

``python -m tests.kit.module_tables`` writes them anew; a test holds the pages against them.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = (
    "civicstream",
    "stack",
    "ingest",
    "streams",
    "alerts",
    "sinks",
    "feeds",
    "sensors_sim",
    "benchmarks",
)
BEGIN, END = "<!-- modules: begin -->", "<!-- modules: end -->"


def first_sentence(path: Path) -> str:
    """Return the first paragraph of a module's docstring as one line of Markdown."""
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split()).replace("``", "`").replace("|", "\\|")


def table(part: str) -> str:
    """Return a table for each folder of a part that has modules, the part's own first."""
    folders = sorted({path.parent for path in (ROOT / part).rglob("*.py")})
    pieces = []
    for folder in folders:
        modules = sorted(p for p in folder.glob("*.py") if p.name != "__init__.py")
        if not modules:
            continue
        if folder != ROOT / part:
            says = first_sentence(folder / "__init__.py")
            pieces.append(f"### {folder.relative_to(ROOT / part)}/\n\n{says}\n")
        rows = [f"| `{path.name}` | {first_sentence(path)} |" for path in modules]
        pieces.append("\n".join(["| module | holds |", "|---|---|", *rows]) + "\n")
    return "\n".join(pieces)


def with_table(text: str, part: str) -> str:
    """Return the page with the table of today; a page without one gets it at its end."""
    made = f"{BEGIN}\n\n{table(part)}\n{END}"
    if BEGIN not in text:
        return f"{text.rstrip()}\n\n## Modules\n\n{made}\n"
    return re.sub(f"{BEGIN}.*{END}", lambda _: made, text, flags=re.DOTALL)


def main() -> None:
    for part in PARTS:
        page = ROOT / part / "README.md"
        page.write_text(with_table(page.read_text("utf-8"), part), "utf-8")
        sys.stdout.write(f"{page.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
