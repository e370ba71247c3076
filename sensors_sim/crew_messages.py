"""What a crew's tablet sends over MQTT: where it is and what it does, and what it decides."""

from __future__ import annotations

from typing import Any

import msgspec

from civicstream.service_events import Action, Unit

__all__ = ["crew_message"]


def crew_message(message: Unit | Action, root: str, now_ms: int) -> tuple[str, bytes]:
    """Return topic and payload of what a crew says at ``now_ms`` on the city's clock.

    The dispatcher lives by that clock, also when the simulated city is quicker: what a crew says
    carries the time of saying it, and its shift ends as much later.
    """
    payload: dict[str, Any]
    if isinstance(message, Action):
        kind, _, id_ = message.subject.partition("/")
        subject = {"allocation": id_} if kind == "allocation" else {"task": message.subject}
        payload = {"ts": now_ms, "action": message.action, "note": message.note, **subject}
        return f"{root}/unit/{message.area}/{message.by}", msgspec.json.encode(payload)
    payload = {
        "ts": now_ms,
        "state": message.state,
        "lon": message.lon,
        "lat": message.lat,
        "skills": message.skills,
        "shift_end": message.shift_end + now_ms - message.at,
        "capacity": message.capacity,
        "load": message.load,
    }
    if message.task is not None:
        payload["task"] = message.task
    return f"{root}/unit/{message.area}/{message.id}", msgspec.json.encode(payload)
