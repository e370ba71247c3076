"""What a crew's tablet sends over MQTT: where it is and what it does, and what it decides."""

from __future__ import annotations

from typing import Any

import msgspec

from civicstream.service_events import Action, Unit

__all__ = ["crew_message"]


def crew_message(said: Unit | Action, root: str, now_ms: int) -> tuple[str, bytes]:
    """Return topic and payload of what a crew says at ``now_ms`` on the city's clock.

    The dispatcher lives by that clock, also when the simulated city is quicker: what a crew says
    carries the time of saying it, and its shift ends as much later.
    """
    payload: dict[str, Any]
    if isinstance(said, Action):
        kind, _, id_ = said.subject.partition("/")
        subject = {"allocation": id_} if kind == "allocation" else {"task": said.subject}
        payload = {"ts": now_ms, "action": said.action, "note": said.note, **subject}
        return f"{root}/unit/{said.area}/{said.by}", msgspec.json.encode(payload)
    payload = {
        "ts": now_ms,
        "state": said.state,
        "lon": said.lon,
        "lat": said.lat,
        "skills": said.skills,
        "shift_end": said.shift_end + now_ms - said.at,
        "capacity": said.capacity,
        "load": said.load,
    }
    if said.task is not None:
        payload["task"] = said.task
    return f"{root}/unit/{said.area}/{said.id}", msgspec.json.encode(payload)
