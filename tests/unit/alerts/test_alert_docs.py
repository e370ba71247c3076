"""The rules in docs/alerts.md are rules."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from alerts.rules.rule_file import parse_rules
from civicstream.errors import ConfigurationError

TEXT = (Path(__file__).parents[3] / "docs" / "alerts.md").read_text(encoding="utf-8")
FENCED: list[str] = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
BLOCKS = [block for block in FENCED if "[[rule]]" in block]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_documented_rule_is_accepted(block: str) -> None:
    assert len(parse_rules(block)) >= 1


def test_the_documented_refusal_is_what_is_printed() -> None:
    wrong = BLOCKS[0].replace("above", "abvoe", 1)
    with pytest.raises(ConfigurationError) as caught:
        parse_rules(wrong, "rules.toml")
    assert str(caught.value) in TEXT
