"""Each part's README names every module of the part, with the module's own first sentence."""

from __future__ import annotations

import pytest

from tests.kit.module_tables import PARTS, ROOT, first_sentence, with_table


@pytest.mark.parametrize("part", PARTS)
def test_a_part_s_readme_names_every_module(part: str) -> None:
    text = (ROOT / part / "README.md").read_text("utf-8")
    assert text == with_table(text, part), "run python -m tests.kit.module_tables"


@pytest.mark.parametrize("part", PARTS)
def test_every_module_says_what_it_holds(part: str) -> None:
    modules = [p for p in (ROOT / part).rglob("*.py") if "migrations" not in p.parts]
    assert not [path for path in modules if not first_sentence(path)]
