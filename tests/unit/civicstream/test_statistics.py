"""A statistic is declared once; a field of the results without one is an error that says where."""

from __future__ import annotations

import msgspec
import pytest

from civicstream.events import EnvironmentRow
from civicstream.statistics import ENVIRONMENT, TRAFFIC, Statistic, _declared


def test_type_and_null_follow_from_the_fields_of_the_results() -> None:
    found = {s.name: (s.type, s.nullable) for s in TRAFFIC}
    assert found["readings"] == ("int", False)
    assert found["coverage"] == ("float", False)
    assert found["occupancy"] == ("float", True)
    assert found["level_of_service"] == ("text", True)


def test_a_field_without_a_statistic_is_named_with_the_place_to_declare_it() -> None:
    wider = msgspec.defstruct("Wider", [("median", float)], bases=(EnvironmentRow,), frozen=True)
    with pytest.raises(TypeError, match=r"Wider has .*, median, but civicstream/statistics\.py"):
        _declared(wider, *ENVIRONMENT)


def test_a_statistic_without_a_field_is_refused_too() -> None:
    with pytest.raises(TypeError, match="EnvironmentRow has"):
        _declared(EnvironmentRow, *ENVIRONMENT, Statistic("median", "Median.", None))
