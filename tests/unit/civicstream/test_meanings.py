"""Every field of every event has a meaning, which the database and AsyncAPI take from it."""

from __future__ import annotations

import inspect

import msgspec
import pytest

from civicstream import events, service_events
from civicstream.meanings import SHARED, field_meanings
from civicstream.service_events import CrewAction

EVENTS = sorted(
    (
        of
        for module in (events, service_events)
        for _, of in inspect.getmembers(module, inspect.isclass)
        if issubclass(of, msgspec.Struct) and of.__module__ == module.__name__
    ),
    key=lambda of: of.__name__,
)


@pytest.mark.parametrize("event", EVENTS, ids=lambda of: of.__name__)
def test_every_field_has_a_meaning(event: type[msgspec.Struct]) -> None:
    assert list(field_meanings(event)) == list(event.__struct_fields__)


def test_a_docstring_goes_before_the_shared_word_and_before_that_of_the_base() -> None:
    class Base(msgspec.Struct):
        area: str
        lon: float
        """Of the base."""
        extra: int

    class Own(Base):
        lon: float
        """Over
        two lines."""

    assert field_meanings(Own) == {"area": SHARED["area"], "lon": "Over two lines."}


def test_a_field_without_a_docstring_takes_none_from_its_neighbour() -> None:
    meanings = field_meanings(CrewAction)
    assert meanings["action"] == "accept, reject, start or done."
    assert meanings["by"] == "The operator or unit."
