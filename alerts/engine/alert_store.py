"""The alerts by key and by id: every new version is made here, and made only once.

An alert's id follows from its rule, key and start alone, and an event whose time is not after what
an alert of its key already went through makes no version: what a source publishes twice counts
once.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from alerts.engine.alert_state import Items, KnownAlert, encode
from civicstream.events import Alert
from civicstream.service_events import Action

__all__ = ["AlertStore", "Known", "alert_id"]

_REMEMBERED_ACTIONS = 10_000
_BY_EVENTS = frozenset({"raised", "updated", "cleared"})
_MINUTE_MS = 60_000
_LONGEST_SILENCE_MIN = 7 * 24 * 60


def alert_id(rule: str, key: str, started_at: int) -> str:
    """Return the id of the alert of ``key`` that began at ``started_at`` [ms]."""
    text = f"{rule}\n{key}\n{started_at}".encode()
    return hashlib.blake2b(text, digest_size=10).hexdigest()


@dataclass
class Known:
    """The newest version of an alert, and what later versions depend on."""

    alert: Alert
    event_at: int
    """Time of the newest event that made a version."""
    raised_event_at: int
    raised_at: int
    """When the first version was made, by the clock."""
    holders: set[str] = field(default_factory=set)
    """Subjects that share the key and for which the condition holds."""

    @property
    def active(self) -> bool:
        return self.alert.state == "active"


class AlertStore:
    """All active alerts, and those cleared lately."""

    def __init__(self) -> None:
        self._by_key: dict[str, Known] = {}
        self._by_id: dict[str, Known] = {}
        self._actions: OrderedDict[str, None] = OrderedDict()
        self.active_count = 0
        self._changed: set[str] = set()
        """Alerts whose item in the state store is to be written."""
        self._gone: Items = {}
        self._new_actions: Items = {}

    def __iter__(self) -> Iterator[Known]:
        return iter(list(self._by_key.values()))

    def active(self) -> list[Known]:
        return [known for known in self._by_key.values() if known.active]

    def of_key(self, key: str) -> Known | None:
        return self._by_key.get(key)

    def of_id(self, id_: str) -> Known | None:
        return self._by_id.get(id_)

    def restore(self, alerts: Iterable[KnownAlert], actions: Iterable[str] = ()) -> None:
        """Go on from what a state store held, oldest first."""
        for known in alerts:
            times = (known.event_at, known.raised_event_at, known.raised_at)
            self._put(Known(known.alert, *times, set(known.holders)))
        for action in actions:
            self._remember(action)
        self._changed.clear()
        self._new_actions.clear()

    def replay(self, versions: Iterable[Alert], actions: Iterable[str] = ()) -> None:
        """Go on from published versions, in their order, where no state store has them."""
        for alert in versions:
            known = self._by_id.get(alert.id)
            event_at = alert.updated_at if alert.change in _BY_EVENTS else alert.started_at
            if known is None:
                other = self._by_key.get(alert.key)
                if other is not None and other.event_at > event_at:
                    continue
                self._put(Known(alert, event_at, event_at, alert.computed_at, {alert.subject}))
            elif alert.version > known.alert.version:
                self._replace(known, alert)
                known.event_at = max(known.event_at, event_at)
        for action in actions:
            self._remember(action)

    def take_changes(self) -> Items:
        """Return the items of the state store that have changed since the last call."""
        items: Items = self._gone | self._new_actions
        for id_ in self._changed:
            known = self._by_id.get(id_)
            if known is not None:
                items[f"alert/{id_}"] = encode(
                    KnownAlert(
                        known.alert,
                        known.event_at,
                        known.raised_event_at,
                        known.raised_at,
                        sorted(known.holders),
                    )
                )
        self._gone, self._new_actions = {}, {}
        self._changed.clear()
        return items

    def _put(self, known: Known) -> None:
        before = self._by_key.get(known.alert.key)
        if before is not None:
            self._forget(before.alert.id)
            self.active_count -= before.active
        self._changed.add(known.alert.id)
        self._gone.pop(f"alert/{known.alert.id}", None)
        self._by_key[known.alert.key] = known
        self._by_id[known.alert.id] = known
        self.active_count += known.active

    def _forget(self, id_: str) -> None:
        self._by_id.pop(id_, None)
        self._changed.discard(id_)
        self._gone[f"alert/{id_}"] = None

    def _replace(self, known: Known, alert: Alert) -> None:
        self._changed.add(alert.id)
        self.active_count += (alert.state == "active") - known.active
        known.alert = alert

    def raise_(self, alert: Alert, holder: str) -> Alert | None:
        """Return the first version of an alert, or None where there is nothing to raise.

        The key is active already (``holder`` takes part then), or the alert of this start is
        known, or the event is not after what the key's last alert went through.
        """
        before = self._by_key.get(alert.key)
        if before is not None:
            if before.active:
                if holder not in before.holders:
                    before.holders.add(holder)
                    self._changed.add(before.alert.id)
                return None
            if before.alert.id == alert.id or alert.updated_at <= before.event_at:
                return None
        at = alert.updated_at
        self._put(Known(alert, at, at, alert.computed_at, holders={holder}))
        return alert

    def change(self, known: Known, now_ms: int, at: int, change: str, **fields: Any) -> Alert:
        """Return the next version; ``at`` is what it follows from."""
        fields = {"note": "", **fields}
        alert = msgspec.structs.replace(
            known.alert,
            version=known.alert.version + 1,
            change=change,
            updated_at=at,
            computed_at=now_ms,
            **fields,
        )
        self._replace(known, alert)
        if change in _BY_EVENTS:
            known.event_at = max(known.event_at, at)
        return alert

    def clear(self, known: Known, now_ms: int, at: int) -> Alert:
        at = max(at, known.alert.started_at)
        return self.change(known, now_ms, at, "cleared", state="cleared", cleared_at=at)

    def release(self, known: Known, holder: str, now_ms: int, at: int) -> Alert | None:
        """Clear the alert when its last subject no longer holds, unless that is old news."""
        if not known.active or at < known.event_at:
            return None
        known.holders.discard(holder)
        self._changed.add(known.alert.id)
        return None if known.holders else self.clear(known, now_ms, at)

    def act(self, action: Action, now_ms: int) -> Alert | None:
        """Return the version that a person's action makes; None where it changes nothing."""
        known = self._by_id.get(action.subject.removeprefix("alert/"))
        if known is None or action.id in self._actions:
            return None
        self._remember(action.id, action.at)
        fields = self._decided(known.alert, action)
        if fields is None:
            return None
        change = fields.pop("change")
        return self.change(known, now_ms, action.at, change, note=action.note, **fields)

    def _decided(self, alert: Alert, action: Action) -> dict[str, Any] | None:
        if action.action == "acknowledge" and alert.acknowledged_at is None:
            by = {"acknowledged_at": action.at, "acknowledged_by": action.by}
            return {"change": "acknowledged"} | by
        if alert.state != "active":
            return None
        if action.action == "silence" and (minutes := _minutes(action.value)):
            until = action.at + round(minutes * _MINUTE_MS)
            return {"change": "silenced", "silenced_until": until, "silenced_by": action.by}
        if action.action == "unsilence" and alert.silenced_until is not None:
            return {"change": "unsilenced", "silenced_until": None, "silenced_by": None}
        return None

    def _remember(self, action: str, at: int = 0) -> None:
        self._actions[action] = None
        self._new_actions[f"action/{action}"] = encode(at)
        if len(self._actions) > _REMEMBERED_ACTIONS:
            oldest, _ = self._actions.popitem(last=False)
            self._new_actions[f"action/{oldest}"] = None

    def forget_cleared(self, before_ms: int) -> None:
        """Forget alerts that were cleared before ``before_ms``."""
        for key, known in list(self._by_key.items()):
            if not known.active and known.alert.computed_at < before_ms:
                del self._by_key[key]
                self._forget(known.alert.id)


def _minutes(value: str | None) -> float | None:
    """Return the minutes of a silence; None for what is no time or longer than a week."""
    try:
        minutes = float(value or "")
    except ValueError:
        return None
    return minutes if 0 < minutes <= _LONGEST_SILENCE_MIN else None
