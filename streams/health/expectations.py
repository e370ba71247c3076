"""What the judges of health read of a kind: what its measures declare, and what follows from them.

A measure whose declaration in ``civicstream/kinds.py`` expects nothing is not judged: lane, period
and totals are constant by nature, counters only grow, wind direction is circular.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from civicstream.kinds import KINDS
from civicstream.measures import Expected

__all__ = ["EFFECTIVE_LENGTH", "Expected", "expected_measures", "needed_measures"]

EFFECTIVE_LENGTH = "effectiveLength"
"""Logarithm of that of vehicle and detection zone, as occupancy, count and speed imply it."""

_DERIVED = {
    "traffic": (
        Expected(
            EFFECTIVE_LENGTH,
            0.0,
            own_floor=0.05,  # 5 %; trucks come and go
            derived=True,
            anomalies=False,
            weight="intensity",
        ),
    )
}


@cache
def expected_measures(kind: str) -> tuple[Expected, ...]:
    """Return what is judged of ``kind``, in the order of its measures, derived ones last."""
    declared = [
        replace(measure.expected, name=measure.name)
        for measure in KINDS[kind].measures
        if measure.expected is not None
    ]
    return (*declared, *_DERIVED.get(kind, ()))


def needed_measures(kind: str) -> tuple[str, ...]:
    """Return the names of the reported measures that judging ``kind`` reads."""
    names: dict[str, None] = {}
    for expected in expected_measures(kind):
        used = (None if expected.derived else expected.name, expected.per, expected.weight)
        for name in (*used, expected.trivial_at):
            if name is not None:
                names[name] = None
    for contradiction in KINDS[kind].contradictions:
        names |= {contradiction.part: None, contradiction.whole: None}
    return tuple(names)
