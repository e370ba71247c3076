"""The services file: what is packaged, and what is said about one that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from civicstream.errors import ConfigurationError
from civicstream.services import PACKAGED, load_services

GOOD = """
[[service]]
code = "pothole"
name = "Pothole"
description = "A hole."
group = "roads"
agency = "Roads"
skill = "road"
priority = 3
target_h = 72
duplicate_radius_m = 30
duplicate_window_h = 336
work_min = 45

[[service]]
code = "light"
name = "Light"
description = "Dark."
group = "lighting"
agency = "Lights"
skill = "electric"
priority = 3
target_h = 72.5
duplicate_radius_m = 30
duplicate_window_h = 336
work_min = 45

[[service.attributes]]
code = "pole"
description = "Number"
datatype = "string"

[[service.attributes]]
code = "fault"
description = "Which?"
datatype = "singlevaluelist"
required = true
values = { dark = "Dark" }
"""


def _refusal(tmp_path: Path, text: str) -> str:
    file = tmp_path / "services.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load_services(file)
    return str(caught.value).removeprefix(str(file))


def test_the_packaged_file_has_at_least_fourteen_services_with_different_codes() -> None:
    services = load_services()
    assert len(services) >= 14
    assert len({service.name for service in services.values()}) == len(services)
    assert {1, 2, 3, 4} == {service.priority for service in services.values()}
    assert PACKAGED.exists()


def test_services_keep_the_order_and_the_attributes_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "services.toml"
    file.write_text(GOOD, encoding="utf-8")
    services = load_services(file)
    assert list(services) == ["pothole", "light"]
    assert services["light"].required_attributes == ("fault",)
    assert services["light"].target_h == 72.5


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("priority = 3", "priority = 5", 9, "priority: invalid enum value 5; use 1 urgent"),
        ("target_h = 72.5", "target_h = 0", 23, "target_h: expected `float` > 0.0; use hours"),
        ('skill = "electric"\n', "", 15, "skill: object missing required field `skill`"),
        ('agency = "Lights"', 'agency = "Lights"\ncolour = "red"', 21, "colour: object contains"),
        ('code = "light"', 'code = "pothole"', 16, "code 'pothole' appears twice"),
        ('datatype = "string"', 'datatype = "text2"', 31, "datatype: invalid enum value 'text2'"),
        ('values = { dark = "Dark" }', "", 34, "a singlevaluelist needs values"),
        ('code = "fault"', 'code = "pole"', 34, "attribute 'pole' appears twice"),
        ('"Pothole"', "7", 4, "name: expected `str`, got `int`"),
    ],
)
def test_a_wrong_file_is_refused_with_line_field_and_remedy(
    tmp_path: Path, old: str, new: str, line: int, words: str
) -> None:
    assert old in GOOD
    said = _refusal(tmp_path, GOOD.replace(old, new, 1))
    assert said.startswith(f", line {line}: "), said
    assert words in said


def test_a_file_that_is_absent_empty_or_no_toml_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"No such file.*REPORTS__SERVICES_FILE"):
        load_services(tmp_path / "none.toml")
    assert "is not TOML" in _refusal(tmp_path, "[[service")
    assert "has no [[service]]" in _refusal(tmp_path, "service = []")
    assert "missing required field `service`" in _refusal(tmp_path, "")
