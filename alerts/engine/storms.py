"""Storms: one parent alert stands for many that became active at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from alerts.engine.alert_store import AlertStore, Known, alert_id
from alerts.rules.rule import SEVERITIES, Grouping, RuleSet
from civicstream.city import Point
from civicstream.events import Alert

__all__ = ["ANY_RULE", "Storms", "is_parent"]

ANY_RULE = "grouping"
"""Rule of a parent of alerts of different rules."""

_MARK = ":group/"
_UPDATE_EVERY_MS = 60_000


def is_parent(alert: Alert) -> bool:
    """Whether the alert stands for others."""
    return f"{alert.rule}{_MARK}" in alert.key


@dataclass
class _Scope:
    """The alerts that one parent would stand for."""

    rule: str
    place: str
    """An area, or ``city``."""
    grouping: Grouping
    recent: deque[tuple[int, str]] = field(default_factory=deque)
    """When alerts became active, in order of arrival, and their ids."""

    @property
    def key(self) -> str:
        return f"{self.rule}{_MARK}{self.place}"

    def note(self, at: int, id_: str) -> None:
        self.recent.append((at, id_))
        newest = max(at, self.recent[-2][0] if len(self.recent) > 1 else at)
        while self.recent and self.recent[0][0] < newest - self.grouping.over_ms:
            self.recent.popleft()


class Storms:
    """Counts what becomes active, by rule and area, and keeps the parents."""

    def __init__(
        self, rules: RuleSet, store: AlertStore, area_point: Callable[[str], Point | None]
    ) -> None:
        self._groupings = {r.name: r.grouping for r in rules.rules if r.grouping is not None}
        self._overall = rules.grouping
        self._store = store
        self._area_point = area_point
        self._scopes: dict[tuple[str, str], _Scope] = {}
        self._members: dict[str, set[str]] = {}
        """Active children by their parent's id."""

    def restore(self, now_ms: int) -> list[Alert]:
        """Count the store's active alerts again; return what a crash kept from being published."""
        for known in sorted(self._store.active(), key=lambda k: k.raised_event_at):
            if is_parent(known.alert):
                self._members.setdefault(known.alert.id, set())
                continue
            for scope in self._scopes_of(known.alert):
                scope.note(known.raised_event_at, known.alert.id)
            if known.alert.parent is not None:
                self._members.setdefault(known.alert.parent, set()).add(known.alert.id)
        made: list[Alert] = []
        for scope in list(self._scopes.values()):
            if strays := self._strays(scope):
                made += self._group(scope, strays[-1].alert, strays[-1].raised_event_at, now_ms)
        return made + self._end_childless(now_ms)

    def _end_childless(self, now_ms: int) -> list[Alert]:
        ends: dict[str, int] = {}
        for known in self._store:
            if known.alert.parent is not None:
                ends[known.alert.parent] = max(ends.get(known.alert.parent, 0), known.event_at)
        return [
            self._store.clear(known, now_ms, max(known.event_at, ends.get(known.alert.id, 0)))
            for known in self._store.active()
            if is_parent(known.alert) and not self._members.get(known.alert.id)
        ]

    def dissolve(self, now_ms: int) -> list[Alert]:
        """End the parents whose grouping is no longer asked for; their children stand alone."""
        made: list[Alert] = []
        for parent in self._store.active():
            rule = parent.alert.rule
            wanted = self._overall if rule == ANY_RULE else self._groupings.get(rule)
            if not is_parent(parent.alert) or wanted is not None:
                continue
            made.append(self._store.clear(parent, now_ms, now_ms))
            for id_ in sorted(self._members.pop(parent.alert.id, ())):
                child = self._store.of_id(id_)
                if child is not None and child.active:
                    made.append(
                        self._store.change(child, now_ms, child.event_at, "updated", parent=None)
                    )
        return made

    def _scopes_of(self, alert: Alert) -> list[_Scope]:
        found = []
        if (own := self._groupings.get(alert.rule)) is not None:
            found.append(self._scope(alert.rule, alert.area if own.by == "area" else "city", own))
        if (all_ := self._overall) is not None:
            found.append(self._scope(ANY_RULE, alert.area if all_.by == "area" else "city", all_))
        return found

    def _scope(self, rule: str, place: str, grouping: Grouping) -> _Scope:
        if (rule, place) not in self._scopes:
            self._scopes[rule, place] = _Scope(rule, place, grouping)
        return self._scopes[rule, place]

    def raised(self, child: Alert, now_ms: int) -> list[Alert]:
        """Return the parent's versions and the children's that now name it."""
        made: list[Alert] = []
        for scope in self._scopes_of(child):
            scope.note(child.updated_at, child.id)
            if not made:
                made = self._group(scope, child, child.updated_at, now_ms)
        return made

    def _group(self, scope: _Scope, child: Alert, at: int, now_ms: int) -> list[Alert]:
        """Let the scope's alerts have a parent, if they are enough or it has one already."""
        parent, made = self._store.of_key(scope.key), []
        if parent is None or not parent.active:
            if len(self._strays(scope)) <= scope.grouping.more_than:
                return []
            alert = self._first_version(scope, child, at, now_ms)
            if self._store.raise_(alert, alert.subject) is None:
                return []
            parent, made = self._store.of_key(scope.key), [alert]
            self._members[alert.id] = set()
        assert parent is not None  # noqa: S101 it was raised
        return made + self._adopt(scope, parent, now_ms) + self._counted(parent, at, now_ms)

    def _strays(self, scope: _Scope) -> list[Known]:
        """Return the scope's recent alerts that are active and have no parent."""
        found = (self._store.of_id(id_) for _, id_ in scope.recent)
        return [k for k in found if k is not None and k.active and k.alert.parent is None]

    def _first_version(self, scope: _Scope, child: Alert, at: int, now_ms: int) -> Alert:
        area = child.area if scope.grouping.by == "area" else "city"
        point = self._area_point(area)
        strays = [k.alert for k in self._strays(scope)]
        return Alert(
            id=alert_id(scope.rule, scope.key, at),
            version=1,
            state="active",
            change="raised",
            rule=scope.rule,
            key=scope.key,
            severity=max((a.severity for a in strays), key=SEVERITIES.index),
            area=area,
            subject="city" if area == "city" else f"area/{area}",
            headline=_headline(scope.rule, area, len(strays)),
            started_at=at,
            updated_at=at,
            computed_at=now_ms,
            value=float(len(strays)),
            threshold=float(scope.grouping.more_than),
            lon=point and point[0],
            lat=point and point[1],
            children=len(strays),
        )

    def _adopt(self, scope: _Scope, parent: Known, now_ms: int) -> list[Alert]:
        """Let the recent alerts name their parent."""
        made = []
        members = self._members.setdefault(parent.alert.id, set())
        for child in self._strays(scope):
            members.add(child.alert.id)
            made.append(
                self._store.change(child, now_ms, child.event_at, "updated", parent=parent.alert.id)
            )
        return made

    def _counted(self, parent: Known, at: int, now_ms: int) -> list[Alert]:
        """Publish how many it stands for: at once when that is worse, else once a minute."""
        alerts = [self._store.of_id(id_) for id_ in self._members.get(parent.alert.id, ())]
        severities = [k.alert.severity for k in alerts if k is not None and k.active]
        worst = max(severities, key=SEVERITIES.index, default=parent.alert.severity)
        now = parent.alert
        worse = SEVERITIES.index(worst) > SEVERITIES.index(now.severity)
        quiet = len(severities) == now.children or at - parent.event_at < _UPDATE_EVERY_MS
        if not severities or (quiet and not worse):
            return []
        headline = _headline(now.rule, now.area, len(severities))
        return [
            self._store.change(
                parent,
                now_ms,
                max(at, parent.event_at),
                "updated",
                severity=worst if worse else now.severity,
                children=len(severities),
                value=float(len(severities)),
                headline=headline,
            )
        ]

    def cleared(self, child: Alert, now_ms: int) -> list[Alert]:
        """Return the parent's version that follows: fewer children, or its end."""
        if child.parent is None:
            return []
        members = self._members.get(child.parent, set())
        members.discard(child.id)
        parent = self._store.of_id(child.parent)
        if parent is None or not parent.active:
            return []
        if members:
            return self._counted(parent, child.updated_at, now_ms)
        self._members.pop(child.parent, None)
        return [self._store.clear(parent, now_ms, max(parent.event_at, child.updated_at))]


def _headline(rule: str, area: str, count: int) -> str:
    what = "alerts" if rule == ANY_RULE else f"alerts of the rule {rule}"
    return f"{count} {what} in {area}" if area != "city" else f"{count} {what} in the city"
