"""What the fields of the events mean: the docstrings below them, and words they all share.

From here the columns of the database take their comments and the AsyncAPI document its
descriptions, so a meaning is written once, where the field is declared.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import cache

import msgspec

__all__ = ["SHARED", "field_meanings"]

SHARED = {
    "area": "District.",
    "computed_at": "When it was computed.",
    "description": "Free text.",
    "kind": "Kind of observation, e.g. air.",
    "lat": "Latitude [degrees, WGS 84].",
    "lon": "Longitude [degrees, WGS 84].",
    "measure": "Name of the measure, as in the sensor's messages.",
    "note": "What its author added.",
    "partition": "Partition of the Kafka topic.",
    "priority": "1 urgent (may pre-empt), 2 high, 3 normal, 4 low.",
    "segment": "Road segment.",
    "sensor": "Name of the sensor, unique within its kind and area.",
    "sensor_key": "Identity of the sensor: a hash of kind/area/sensor.",
    "service": "Code of the service type.",
    "topic": "Kafka topic, with its prefix.",
    "unit": "Crew or vehicle.",
    "version": "Number of this version, from 1 without gaps.",
    "window_end": "End of the window.",
    "window_start": "Start of the window.",
}
"""Names that mean the same in every event; a field's own docstring goes before."""


@cache
def field_meanings(event: type[msgspec.Struct]) -> dict[str, str]:
    """Return field -> meaning, of those that have one, in the order of the fields."""
    own: dict[str, str] = {}
    for base in reversed(event.__mro__):
        if issubclass(base, msgspec.Struct) and base is not msgspec.Struct:
            own |= _docstrings(base)
    known = SHARED | own
    return {name: known[name] for name in event.__struct_fields__ if name in known}


def _docstrings(of: type) -> dict[str, str]:
    """Return field -> the text below it in the class, which Python itself does not keep."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(of))).body
    assert isinstance(body, ast.ClassDef)  # noqa: S101 the source is that of a class
    found = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        match field, after:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = " ".join(text.replace("``", "`").split())
    return found
