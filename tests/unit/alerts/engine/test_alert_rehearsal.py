"""`civicstream rules`: a file is checked, and run over what `civicstream tail` wrote."""

from __future__ import annotations

from pathlib import Path

import msgspec
from typer.testing import CliRunner

from civicstream.errors import ConfigurationError
from stack.cli import app
from tests.kit.alert_making import SLOW, traffic

invoke = CliRunner().invoke


def written(folder: Path) -> tuple[str, str]:
    rules, recorded = folder / "rules.toml", folder / "results.traffic.jsonl"
    rules.write_text(SLOW, encoding="utf-8")
    windows = [traffic(at, {"s1": 15.0 if 3 <= at < 6 else 50.0}) for at in range(1, 10)]
    recorded.write_bytes(b"\n".join(map(msgspec.json.encode, windows)))
    return str(rules), str(recorded)


def test_what_would_have_fired_is_printed(tmp_path: Path) -> None:
    rules, recorded = written(tmp_path)
    result = invoke(app, ["rules", "test", rules, recorded])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("2027-01-15T08:03:00.000Z  raised    moderate slow: s1 in north")
    assert lines[-1] == "slow: 1 raised, 0 still active"


def test_it_can_be_had_as_json_and_the_topic_be_named(tmp_path: Path) -> None:
    rules, recorded = written(tmp_path)
    result = invoke(app, ["rules", "test", rules, f"results.traffic={recorded}", "--json"])
    changes = [msgspec.json.decode(line)["change"] for line in result.output.splitlines()]
    assert changes == ["raised", "cleared"]


def test_a_checked_file_says_what_it_looks_at(tmp_path: Path) -> None:
    rules, _ = written(tmp_path)
    assert "1 rules on results.traffic" in invoke(app, ["rules", "check", rules]).output


def test_what_is_wrong_names_file_line_and_remedy(tmp_path: Path) -> None:
    rules, recorded = written(tmp_path)
    Path(recorded).write_text("{}\n", encoding="utf-8")
    for arguments, told in (
        (["test", rules, recorded], "line 1"),
        (["test", rules, "elsewhere.jsonl"], "write TOPIC=FILE"),
        (["test", rules], "--last"),
    ):
        result = invoke(app, ["rules", *arguments])
        assert isinstance(result.exception, ConfigurationError)
        assert told in str(result.exception)
