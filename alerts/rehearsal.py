"""Rules over recorded events: what would have fired, by the events' own clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import msgspec

from alerts.engine.engine import AlertEngine
from alerts.engine.places import Places
from alerts.rules.rule import RuleSet
from alerts.rules.sources import SOURCES
from civicstream.clock import rfc3339
from civicstream.errors import ConfigurationError
from civicstream.events import Alert
from civicstream.service_events import Action

__all__ = ["RecordedEvent", "Rehearsal", "read_recorded", "rehearse", "show"]

RecordedEvent = tuple[str, Any]
"""Topic without the prefix, and its event."""

_TICK_MS = 10_000
# A pause in what was recorded is passed over in at most so many ticks.
_MOST_TICKS = 1_000


@dataclass
class Rehearsal:
    """What would have fired."""

    events: int = 0
    versions: list[Alert] = field(default_factory=list)

    def by_rule(self) -> dict[str, dict[str, int]]:
        """Return how often each rule raised, and how many of its alerts are still active."""
        raised = Counter(a.rule for a in self.versions if a.version == 1)
        newest = {a.id: a for a in self.versions}
        active = Counter(a.rule for a in newest.values() if a.state == "active")
        return {name: {"raised": raised[name], "active": active[name]} for name in sorted(raised)}


def read_recorded(recorded: Sequence[str]) -> Iterator[RecordedEvent]:
    """Yield the events of files as `civicstream tail` writes them.

    Each is ``TOPIC=FILE``, or a file named for its topic: ``results.traffic.jsonl``. Raise
    ConfigurationError that names file, line and remedy.
    """
    for text in recorded:
        topic, _, name = text.rpartition("=")
        path = Path(name)
        topic = topic or path.name.removesuffix(path.suffix)
        if topic not in SOURCES and topic != "actions":
            raise ConfigurationError(
                f"recorded file {text}: {topic!r} is no topic that rules look at; write "
                f"TOPIC=FILE with one of {', '.join(SOURCES)}"
            )
        decoder = msgspec.json.Decoder(Action if topic == "actions" else SOURCES[topic].event)
        try:
            with path.open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    yield topic, _decoded(decoder, line, f"{path}, line {number}")
        except OSError as error:
            raise ConfigurationError(f"recorded file {path}: {error.strerror}") from error


def _decoded(decoder: Any, line: bytes, where: str) -> Any:
    try:
        return decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"recorded file {where}: {error}; write it with `civicstream tail TOPIC`"
        ) from error


def _clock(recorded: RecordedEvent) -> int:
    topic, event = recorded
    at: int = getattr(event, "computed_at", None) or getattr(
        event, "at" if topic == "actions" else SOURCES[topic].at
    )
    return at


def rehearse(rules: RuleSet, places: Places, events: Iterable[RecordedEvent]) -> Rehearsal:
    """Return what would have fired had the rules run when the events came."""
    engine, found, now = AlertEngine(rules, places), Rehearsal(), 0
    for topic, event in sorted(events, key=_clock):
        at = _clock((topic, event))
        if now:
            step = max(_TICK_MS, (at - now) // _MOST_TICKS)
            while now + step <= at:
                now += step
                found.versions += engine.tick(now)
        else:
            now = at
            found.versions += engine.tick(now)
        found.versions += engine.apply(topic, event, at)
        found.events += 1
    return found


def show(found: Rehearsal, out: TextIO) -> None:
    """Write a line for each version, then how often each rule fired."""
    for alert in found.versions:
        value = "" if alert.value is None else f" (value {alert.value:g})"
        out.write(
            f"{rfc3339(alert.updated_at)}  {alert.change:<9} {alert.severity:<8} "
            f"{alert.rule}: {alert.headline}{value}\n"
        )
    out.write(f"{found.events} events\n")
    out.writelines(
        f"{name}: {counts['raised']} raised, {counts['active']} still active\n"
        for name, counts in found.by_rule().items()
    )
