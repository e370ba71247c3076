"""The columns that the API can show: what each one means, and how the database gives it.

Times leave the database as epoch milliseconds (``history_store`` reads them so), jsonb as text:
neither costs a conversion in Python that a format may not want.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from civicstream.statistics import ENVIRONMENT, TRAFFIC

__all__ = ["Column", "ColumnType", "column", "columns"]

ColumnType = Literal["text", "int", "float", "time", "json", "list"]

_SCHEMAS: dict[ColumnType, dict[str, Any]] = {
    "text": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "time": {"type": "integer", "format": "epoch-milliseconds"},
    "json": {"type": ["array", "object"]},
    "list": {"type": "array", "items": {"type": ["number", "null"]}},
}


@dataclass(frozen=True)
class Column:
    """One field of an item; ``sql`` is an expression over the listing's relation ``h``."""

    name: str
    type: ColumnType
    description: str
    nullable: bool = False
    sql: str = ""

    @property
    def source(self) -> str:
        return self.sql or f"h.{self.name}"

    @property
    def selected(self) -> str:
        """Return the SQL of the value as it leaves the database."""
        value = f"to_jsonb({self.source})::text" if self.type == "json" else self.source
        return f"{value} AS {self.name}"

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of the field."""
        schema = {**_SCHEMAS[self.type], "description": self.description}
        if self.nullable:
            types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
            schema["type"] = [*types, "null"]
        return schema


def _declared(of: ColumnType, /, **descriptions: str) -> dict[str, Column]:
    """Return the columns; a description that begins with a question mark: may be null."""
    return {
        name: Column(name, of, text.lstrip("? "), nullable=text.startswith("?"))
        for name, text in descriptions.items()
    }


_TEXTS = _declared(
    "text",
    id="What it is called, unique in this list.",
    name="For people.",
    area="District.",
    segment="Road segment.",
    corridor="Road, whose segments lie one behind the other.",
    road_class="freeway or street.",
    state="Where it is in its life.",
    algorithm="Which detector found it.",
    upstream_segment="Segment of the detector before it.",
    downstream_segment="Segment of the detector behind it.",
    kind="Kind of observation.",
    measure="Which of the kind's quantities.",
    sensor="? The sensor's id within its kind and area.",
    health="ok, or what is wrong with the sensor.",
    before="Its health until then.",
    reason="One sentence.",
    service="Code of the service type.",
    agency="Who is responsible.",
    description="Free text.",
    changed_by="Who made this version: system, a person, a unit.",
    note="What the person wrote.",
    latest_report="? Id of the report that made this version.",
    suggested_service="? What the text speaks of, when that is another service.",
    breach="Of the target time: none, near, breached.",
    duplicate_of="? The case it is the same as.",
    task="? incident/<id> or case/<id>.",
    unit="Crew or vehicle.",
    policy="How the advice was found.",
    decided_by="Who made this version.",
    subject="What it is about, as <what>/<id>.",
    action="What was decided.",
    by="Who decided.",
    value="? What goes with the action, say the unit of an override.",
    change="What this version is about.",
    rule="The alert rule.",
    key="What it is one alert of.",
    severity="minor, moderate, severe or extreme.",
    headline="One sentence.",
    acknowledged_by="? Who acknowledged it.",
    silenced_by="? Who silenced it.",
    parent="? The alert that groups it with others.",
    stage="Which process refused it.",
    instance="? Which of these processes.",
    detail="What is wrong.",
    topic="Where it came from.",
    source="CloudEvents source.",
    actor="Who.",
    previous="Hash of the row before, hex.",
    hash="Hash of the row, hex; covers the row and `previous`.",
    gateway="The gateway that numbered the frames.",
)
_NUMBERS = {
    **_declared(
        "int",
        version="Counts from 1 without gaps.",
        position="Order along the corridor.",
        lanes="Number of lanes.",
        windows="How many windows of the finest step are in it.",
        sensor_key="Identity of the sensor, signed 64 bit; `id` has it as text.",
        lane="? Lane from the median; 0: all lanes.",
        horizon_min="How far ahead [min].",
        priority="1 urgent to 4 low.",
        reports="How many reports were made of it.",
        reporters="By how many people.",
        open_tasks="Tasks that wait.",
        escalation="How often nobody acknowledged it in time.",
        children="Of a group: how many alerts it stands for.",
        count="Readings that were refused.",
        partition="? Of the record.",
        offset="? Of the record.",
        payload_bytes="True size of the payload [bytes].",
        seq="Number of the row, from 1 without gaps.",
        segments="Segments with a result.",
    ),
    **_declared(
        "float",
        length_m="Length [m].",
        free_flow_kmh="Speed of the empty road [km/h].",
        interval_s="? How often it usually reports [s].",
        lon="? Longitude [degrees, WGS 84].",
        lat="? Latitude [degrees, WGS 84].",
        severity_share="Share of the capacity that is lost, 0..1.",
        confidence="0..1.",
        delay_veh_h="Time that all vehicles together have lost [vehicle hours].",
        queue_m="Length of the queue [m].",
        speed_kmh="? Expected space-mean speed [km/h].",
        speed_low_kmh="? Lower end of the 80 % interval [km/h].",
        speed_high_kmh="? Upper end of the 80 % interval [km/h].",
        flow_low_veh_h="? Lower end of the 80 % interval [veh/h].",
        flow_high_veh_h="? Upper end of the 80 % interval [veh/h].",
        score="Highest anomaly score so far, 0..1.",
        measured="What was measured, in the measure's unit.",
        expected="What is usual then.",
        low="Lower end of the 98 % interval of what is usual.",
        high="Upper end of the 98 % interval of what is usual.",
        weight="Grows with the people who reported it and with what confirms it.",
        capacity="What the unit can carry.",
        load="What it carries.",
        weighted="Tasks weighted by priority, age and reporters.",
        arrivals_per_h="Tasks that come an hour.",
        capacity_per_h="Tasks an hour that the crews on shift can do.",
        pressure="? Demand divided by the capacity; null without any.",
        threshold="? What `value` is held against.",
    ),
}
_TIMES = _declared(
    "time",
    window_start="Start of the window.",
    window_end="End of the window.",
    computed_at="When it was computed.",
    estimated_start="When it probably began.",
    first_evidence="End of the first window that spoke for it.",
    last_evidence="End of the last window that spoke for it.",
    made_at="End of the newest window it knows.",
    target="What time it is of: made_at + horizon.",
    since="Since when it is so.",
    started_at="When it began.",
    last_at="When it was last seen.",
    opened_at="When it was opened.",
    updated_at="Of this version.",
    due_at="When it is to be resolved by its target.",
    shift_end="End of the crew's shift.",
    at="Time of the event.",
    recorded_at="When the database took it.",
    proposed_at="When it was proposed.",
    arrival_at="When the unit will be there.",
    decided_at="Of this version.",
    cleared_at="? When it ended.",
    acknowledged_at="? When it was acknowledged.",
    silenced_until="? Until when it is silenced.",
    received_at="When it came.",
    first_seen="When it was first in the database.",
)
_JSON = _declared(
    "json",
    upstream="Segments from which vehicles come.",
    downstream="Segments to which vehicles go.",
    geometry="GeoJSON geometry, WGS 84.",
    skills="What the unit can do.",
    confirmed_by="Sensors and incidents that say the same.",
    route="Segments in order.",
    alternatives="Other units: unit, arrival_at, extra_cost [priority-weighted minutes].",
    members="Bad members of an array: [index, sentence].",
    details="What goes with it.",
)

_STATISTICS = {
    s.name: Column(s.name, s.type, s.meaning, nullable=s.nullable) for s in (*TRAFFIC, *ENVIRONMENT)
}
_KNOWN = {**_STATISTICS, **_TEXTS, **_NUMBERS, **_TIMES, **_JSON}


def column(name: str, sql: str = "", *, of: str = "", description: str = "") -> Column:
    """Return a column; ``of`` takes meaning and type from another one's declaration."""
    known = _KNOWN[of or name]
    return replace(known, name=name, sql=sql, description=description or known.description)


def columns(*names: str | Column) -> tuple[Column, ...]:
    """Return the declared columns of these names, and those given as they are."""
    return tuple(name if isinstance(name, Column) else column(name) for name in names)
