"""The service types that citizens can report: Open311's services and what the city makes of them.

They are configuration: the packaged ``services.toml``, or the file that
``CIVICSTREAM_REPORTS__SERVICES_FILE`` names. Checked as a whole when loaded.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from civicstream.errors import ConfigurationError
from civicstream.service_events import Priority

__all__ = ["PACKAGED", "Attribute", "ServiceType", "load_services"]

PACKAGED = Path(__file__).with_name("services.toml")

_POSITIVE = msgspec.Meta(gt=0)
Code = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
DataType = Literal["string", "number", "datetime", "text", "singlevaluelist", "multivaluelist"]


class Attribute(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A question that goes with a service (GeoReport v2, service definition)."""

    code: Code
    description: Text
    datatype: DataType
    required: bool = False
    variable: bool = True
    """False: only a text for the citizen to read, no question."""
    datatype_description: str = ""
    values: dict[str, str] = {}
    """Of the list types: key to name."""


class ServiceType(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of problem; field meanings in ``services.toml``."""

    code: Code
    name: Text
    description: Text
    group: Text
    agency: Text
    skill: Code
    priority: Priority
    target_h: Annotated[float, _POSITIVE]
    duplicate_radius_m: Annotated[float, _POSITIVE]
    duplicate_window_h: Annotated[float, _POSITIVE]
    work_min: Annotated[float, _POSITIVE]
    keywords: tuple[Text, ...] = ()
    confirmed_by: tuple[Code, ...] = ()
    attributes: tuple[Attribute, ...] = ()

    @property
    def required_attributes(self) -> tuple[str, ...]:
        return tuple(a.code for a in self.attributes if a.required and a.variable)


class _File(msgspec.Struct, forbid_unknown_fields=True):
    service: tuple[ServiceType, ...]


def load_services(path: Path | None = None) -> dict[str, ServiceType]:
    """Return the service types by code, in the order of the file (None: the packaged one).

    Raise ConfigurationError that names file, line, field and remedy.
    """
    path = path or PACKAGED
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except OSError as error:
        raise ConfigurationError(
            f"services file {path}: {error.strerror}; set CIVICSTREAM_REPORTS__SERVICES_FILE"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"services file {path} is not TOML: {error}") from error
    try:
        services = msgspec.convert(document, _File).service
    except msgspec.ValidationError as error:
        raise ConfigurationError(_explain(str(error), path, text)) from None
    if not services:
        raise ConfigurationError(f"services file {path} has no [[service]]; add at least one")
    for index, service in enumerate(services):
        _check(service, index, path, text)
    found = {service.code: service for service in services}
    if len(found) < len(services):
        codes = [service.code for service in services]
        index = next(i for i, code in enumerate(codes) if code in codes[:i])
        line = _line_of(text, ["service", index, "code"])
        raise ConfigurationError(
            f"{path}, line {line}: code {codes[index]!r} appears twice; give each service its own"
        )
    return found


def _check(service: ServiceType, index: int, path: Path, text: str) -> None:
    """Raise ConfigurationError for what the types cannot say."""
    seen: set[str] = set()
    for number, attribute in enumerate(service.attributes):
        problem = None
        if attribute.code in seen:
            problem = f"attribute {attribute.code!r} appears twice; give each its own code"
        elif attribute.datatype.endswith("list") and not attribute.values:
            problem = f'a {attribute.datatype} needs values, e.g. values = {{ yes = "Yes" }}'
        elif attribute.values and not attribute.datatype.endswith("list"):
            problem = f"a {attribute.datatype} has no values; use singlevaluelist or leave them out"
        if problem:
            line = _line_of(text, ["service", index, "attributes", number, "code"])
            raise ConfigurationError(f"{path}, line {line}: service {service.code!r}: {problem}")
        seen.add(attribute.code)


_STEP = re.compile(r"\.([A-Za-z_]+)|\[(\d+)\]")
_MISSING = re.compile(r"missing required field `(\w+)`|unknown field `(\w+)`")
_REMEDIES = {
    "priority": "use 1 urgent, 2 high, 3 normal or 4 low",
    "datatype": "use string, number, datetime, text, singlevaluelist or multivaluelist",
    "code": "use 1 to 64 letters, digits, '_', '.' or '-'",
    "skill": "use 1 to 64 letters, digits, '_', '.' or '-'",
    "target_h": "use hours above 0",
    "duplicate_radius_m": "use metres above 0",
    "duplicate_window_h": "use hours above 0",
    "work_min": "use minutes above 0",
}


def _explain(message: str, path: Path, text: str) -> str:
    what, _, place = message.partition(" - at `$")
    steps: list[str | int] = [
        name or int(number) for name, number in _STEP.findall(place.rstrip("`"))
    ]
    named = _MISSING.search(what)
    field = next(filter(None, named.groups())) if named else str(steps[-1] if steps else "service")
    if named and named.group(2):
        steps.append(field)
    remedy = _REMEDIES.get(field) or (
        "remove it; the packaged services.toml has every field"
        if named and named.group(2)
        else "the packaged services.toml has examples"
    )
    what = what[:1].lower() + what[1:]
    return f"{path}, line {_line_of(text, steps)}: {field}: {what}; {remedy}"


def _line_of(text: str, steps: list[Any]) -> int:
    """Return the line of a value in the TOML text, or of the nearest table around it.

    tomllib knows no positions, so the headers of the tables are counted: ``steps`` is
    ``["service", 3, "attributes", 0, "code"]`` or the beginning of such a path.
    """
    wanted = {
        f"[[{'.'.join(steps[0 : i + 1 : 2])}]]": steps[i + 1] for i in (0, 2) if len(steps) > i + 1
    }
    lines = text.splitlines()
    at, start = 0, 0
    for header, number in wanted.items():
        left = int(number)
        while start < len(lines):
            if lines[start].strip().startswith(header):
                if left == 0:
                    break
                left -= 1
            start += 1
        at = min(start, len(lines) - 1)
        start += 1
    field = steps[-1] if steps and isinstance(steps[-1], str) else None
    for number, line in enumerate(lines[at + 1 :], at + 1):
        if line.strip().startswith("[["):
            break
        if field and re.match(rf"\s*{re.escape(field)}\s*=", line):
            return number + 1
    return at + 1
