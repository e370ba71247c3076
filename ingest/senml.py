"""SenML packs (RFC 8428) as plain readings.

A record's name, base name included, is the measure, alone or after the sensor:
``LAeq``, ``A7/LAeq``, ``urn:dev:ow:A7:LAeq``. Records of one resolved time are one reading.
Units, when given, must be the measure's or convert to it (RFC 8428 section 12.1, RFC 8798).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from civicstream.errors import RejectedReading
from civicstream.kinds import Kind, Measure
from ingest.validation import check_number, name_of

__all__ = ["is_pack", "readings"]

Resolved = tuple[int, dict[str, Any] | RejectedReading]

_MARKS = {"n", "bn", "v", "bv", "bt", "vs", "vb", "vd"}
_VERSION = 10
_RELATIVE_BELOW_S = 2**28  # RFC 8428 section 4.5.3: smaller times count from now

# SenML unit -> our unit, factor, offset: ours = factor * theirs + offset.
_CONVERSIONS: dict[str, tuple[tuple[str, float, float], ...]] = {
    "Cel": (("°C", 1, 0),),
    "K": (("°C", 1, -273.15),),
    "/": (("fraction", 1, 0),),
    "%": (("fraction", 0.01, 0),),
    "%RH": (("fraction", 0.01, 0),),
    "m/s": (("m/s", 1, 0), ("km/h", 3.6, 0)),
    "km/h": (("km/h", 1, 0), ("m/s", 1 / 3.6, 0)),
    "deg": (("degrees", 1, 0),),
    "mm/h": (("mm/h", 1, 0),),
    "Pa": (("hPa", 0.01, 0), ("bar", 1e-5, 0)),
    "hPa": (("hPa", 1, 0),),
    "dB": (("dB(A)", 1, 0),),
    "dBspl": (("dB(A)", 1, 0),),
    "ug/m3": (("µg/m³", 1, 0), ("mg/m³", 0.001, 0)),
    "mg/m3": (("mg/m³", 1, 0), ("µg/m³", 1000, 0)),
    "kg/m3": (("µg/m³", 1e9, 0), ("mg/m³", 1e6, 0)),
    "m": (("m", 1, 0),),
    "m3/s": (("m³/s", 1, 0),),
    "W": (("kW", 0.001, 0),),
    "kW": (("kW", 1, 0),),
    "kWh": (("kWh", 1, 0),),
    "Wh": (("kWh", 0.001, 0),),
    "J": (("kWh", 1 / 3.6e6, 0),),
    "V": (("V", 1, 0),),
    "s": (("s", 1, 0),),
    "min": (("s", 60, 0),),
    "count": (("vehicles", 1, 0), ("spots", 1, 0), ("number", 1, 0)),
}


def is_pack(members: list[Any]) -> bool:
    """Return whether an array is a SenML pack and not an array of readings."""
    first = members[0] if members else None
    return isinstance(first, Mapping) and "ts" not in first and not _MARKS.isdisjoint(first)


def readings(members: list[Any], kind: Kind, sensor: str, *, received_ms: int) -> list[Resolved]:
    """Return a reading per resolved time, with the index of its first record, or its rejection.

    A bad record spoils the reading it belongs to and no other; measures that the kind does not
    know are ignored, as in plain readings. The values themselves are not checked here.
    """
    found: dict[object, Resolved] = {}
    for index, outcome in _records(members, sensor, received_ms):
        if isinstance(outcome, RejectedReading):
            found[("bad", index)] = (index, outcome)
            continue
        ts, name, unit, value = outcome
        at, reading = found.setdefault(ts, (index, {"ts": ts}))
        if isinstance(reading, RejectedReading):
            continue
        try:
            measure = _measure(kind, name, sensor)
            if measure is not None:
                reading[measure.name] = _convert(measure, value, unit, sensor)
        except RejectedReading as error:
            found[ts] = (at, error)
    return list(found.values())


_Record = tuple[int, str, str | None, Any]


def _records(
    members: list[Any], sensor: str, received_ms: int
) -> Iterator[tuple[int, _Record | RejectedReading]]:
    """Yield each record that has a value, resolved: time [epoch ms], name, unit, value."""
    base: dict[str, Any] = {"bn": "", "bt": 0, "bu": None, "bv": 0}
    for index, record in enumerate(members):
        try:
            if not isinstance(record, Mapping):
                raise _bad(sensor, f"record {index} is not an object")
            base.update({key: record[key] for key in base if key in record})
            _check_record(record, base, sensor, index)
            if "v" not in record and "bv" not in record:
                if _has_other_value(record):
                    yield index, _bad(sensor, f"record {index} has no numeric value 'v'")
                continue
            yield index, _resolve(record, base, received_ms, sensor)
        except RejectedReading as error:
            yield index, error


def _has_other_value(record: Mapping[str, Any]) -> bool:
    """A record of base fields alone is legal and holds no reading."""
    return not {"n", "t", "u", "vs", "vb", "vd", "s"}.isdisjoint(record)


def _check_record(record: Mapping[str, Any], base: dict[str, Any], sensor: str, index: int) -> None:
    if record.get("bver", _VERSION) != _VERSION:
        raise _bad(
            sensor, f"record {index} has version {name_of(record['bver'])}, expected {_VERSION}"
        )
    # RFC 8428 section 4.4: a reader must not process what it must understand and does not.
    strange = sorted(key for key in record if key.endswith("_"))
    if strange:
        raise _bad(
            sensor,
            f"record {index} asks to be understood: field {name_of(strange[0])}",
        )
    texts = (base["bn"], record.get("n", ""))
    numbers = (base["bt"], record.get("t", 0))
    if not all(isinstance(t, str) for t in texts):
        raise _bad(sensor, f"record {index}: names (bn, n) must be strings")
    if not all(map(_is_number, numbers)):
        raise _bad(sensor, f"record {index}: times (bt, t) must be numbers")
    if not all(abs(t) < 1e12 for t in numbers):
        raise _bad(sensor, f"record {index}: times (bt, t) are in seconds, these are too large")


def _resolve(
    record: Mapping[str, Any], base: dict[str, Any], received_ms: int, sensor: str
) -> _Record:
    seconds = base["bt"] + record.get("t", 0)
    ms = round(seconds * 1000)
    if seconds < _RELATIVE_BELOW_S:
        ms += received_ms
    value, offset = record.get("v", 0), base["bv"]
    if _is_number(value) and _is_number(offset) and offset:
        for term in (value, offset):  # a large integer and a float cannot be added
            check_number(term, f"sensor {name_of(sensor)}: SenML v and bv:")
        value += offset
    return ms, base["bn"] + record.get("n", ""), record.get("u", base["bu"]), value


def _measure(kind: Kind, name: str, sensor: str) -> Measure | None:
    """Return the measure a resolved name means, None for one the kind does not have."""
    *before, last = re.split(r"[/:]", name)
    owner = [part for part in before if part]
    if owner and owner[-1] != sensor and not name.startswith(f"{sensor}/"):
        raise RejectedReading(
            "sensor_mismatch",
            f"sensor {name_of(sensor)}: the pack names {name_of(name)}; "
            "topic and payload must name the same sensor",
        )
    return next((m for m in kind.measures if m.name == last), None)


def _convert(measure: Measure, value: Any, unit: object, sensor: str) -> Any:
    if unit is None or not _is_number(value):
        return value
    check_number(value, f"sensor {name_of(sensor)}: {measure.name}")
    head = re.split("[ ,]", measure.unit)[0]  # "kWh, counter" is in kWh
    for ours, factor, offset in _CONVERSIONS.get(unit if isinstance(unit, str) else "", ()):
        if ours == head:
            return value if factor == 1 and not offset else value * factor + offset
    raise RejectedReading(
        "wrong_unit",
        f"sensor {name_of(sensor)}: {measure.name} in unit {name_of(unit)} "
        f"does not convert to {measure.unit}",
    )


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _bad(sensor: str, what: str) -> RejectedReading:
    return RejectedReading("senml_malformed", f"sensor {name_of(sensor)}: SenML {what}")
