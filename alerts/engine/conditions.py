"""Whether each condition holds for each subject, and since when; whole columns at a time.

What is null says nothing: the condition stays as it was. Times are the events' own.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from alerts.engine.alert_state import Held, Items, encode, held_key, number
from alerts.engine.columns import Columns
from alerts.engine.subjects import Subjects
from alerts.rules.rule import Condition
from alerts.rules.sources import SOURCES, EventColumns

__all__ = ["ConditionState"]

Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

_NEVER = np.iinfo(np.int64).min

# A change is measured in so many steps of its time: enough that a rise is not seen late by more
# than three per cent of it, few enough for a hundred thousand segments.
_STEPS = 32


class ConditionState:
    """One condition over the subjects of its source.

    Columns: ``holds``, ``since`` (when it began or ceased to), ``seen`` (newest value that said
    something), ``value``.
    """

    def __init__(self, condition: Condition, subjects: Subjects) -> None:
        self.condition = condition
        self.subjects = subjects
        self.columns = Columns({"holds": False, "since": 0, "seen": _NEVER, "value": np.nan})
        steps = condition.change_over_ms
        self._change = None if steps is None else _Change(steps, condition.per is not None)
        self._changed: set[str] = set()
        """Subjects whose item in the state store is to be written."""
        self._stored: set[str] = set()
        self._windowed = SOURCES[condition.source].windowed
        self._by_city_windows = self._windowed and not SOURCES[condition.source].machine_time
        self._machine_time = SOURCES[condition.source].machine_time

    def extend(self) -> None:
        """Have a row for each subject."""
        self.columns.extend_to(len(self.subjects))
        if self._change is not None:
            self._change.columns.extend_to(len(self.subjects))

    def take(self, rows: Rows, batch: EventColumns, fresh: Mask) -> None:
        """Take an event in; ``fresh``: for which rows it is news."""
        self.extend()
        chosen = self._chosen(batch)
        if self.condition.no_data_for_ms is not None:
            # Of an area one row speaks for all that the event has of it.
            relevant = np.array([chosen.any()]) if self.condition.by_area else chosen
            news = rows[fresh & relevant]
            self._set(news, np.zeros(len(news), np.bool_), batch.at)
            self.columns["seen"][news] = batch.at
            return
        valid, holds, values = self._decide(rows, batch, fresh & chosen)
        known = fresh & (valid | ~chosen)
        news = rows[known]
        self._set(news, (holds & chosen)[known], batch.at)
        self.columns["seen"][news] = batch.at
        self.columns["value"][news] = values[known]

    def _set(self, rows: Rows, holds: Mask, at: int) -> None:
        columns = self.columns
        changed = (columns["holds"][rows] != holds) | (columns["seen"][rows] == _NEVER)
        columns["since"][rows[changed]] = at
        columns["holds"][rows] = holds
        # What comes with every window is read again at a start; of the rest the newest is kept.
        self._note_changed(rows[changed] if self._windowed else rows)

    def _note_changed(self, rows: Rows) -> None:
        names = self.subjects.names
        self._changed.update(names[row] for row in rows.tolist())

    def _chosen(self, batch: EventColumns) -> Mask:
        chosen = np.ones(len(batch.rows), np.bool_)
        for field, wanted in self.condition.where:
            chosen &= _among(batch, field, wanted)
        return chosen

    def _decide(self, rows: Rows, batch: EventColumns, fresh: Mask) -> tuple[Mask, Mask, Floats]:
        """Return for each row whether the value says something, whether it holds, the value."""
        condition = self.condition
        field = condition.field or ""
        if condition.values is not None:
            number = batch.source.field_type(field) == "number"
            values = batch.numbers(field) if number else np.full(len(rows), np.nan)
            valid = ~np.isnan(values) if number else batch.texts(field) != np.array(None)
            return valid, _among(batch, field, condition.values) ^ condition.negated, values
        values = batch.numbers(field)
        if self._change is not None:
            per = batch.numbers(condition.per) if condition.per else None
            values = self._change.since(rows, values, per, batch.at, fresh)
        elif condition.per is not None:
            values = _ratio(values, batch.numbers(condition.per))
        return ~np.isnan(values), self._beyond(values, self.columns["holds"][rows]), values

    def _beyond(self, values: Floats, held: Mask) -> Mask:
        """Threshold with hysteresis: between the two limits it stays as it was."""
        above, below, clear = self.condition.above, self.condition.below, self.condition.clear
        if above is not None:
            on: Mask = values > above
            off: Mask = ~on if clear is None else values < clear
        else:
            on = values < np.float64(below or 0.0)  # one of the two is always given
            off = ~on if clear is None else values > clear
        result: Mask = np.logical_or(on, held & ~off)
        return result

    def ripe(self, rows: Rows, now_ms: int, windowed: bool) -> Mask:
        """Whether it has held for its time, by the events' time or by the clock."""
        columns = self.columns
        until = columns["seen"][rows] if windowed else np.int64(now_ms)
        held: Mask = columns["holds"][rows] & (
            until - columns["since"][rows] >= self.condition.for_ms
        )
        return held

    def tick(self, city_ms: int, machine_ms: int, caught_up: bool) -> Rows:
        """Let time pass; return the rows that changed by it."""
        self.extend()
        columns, condition = self.columns, self.condition
        now_ms = machine_ms if self._machine_time else self.results_time(city_ms)
        reported = columns["seen"] != _NEVER
        age = now_ms - np.where(reported, columns["seen"], now_ms)
        forgotten = np.zeros(len(age), np.bool_)
        if condition.forget_after_ms and caught_up:
            forgotten = age >= condition.forget_after_ms
        changed = columns["holds"] & forgotten
        columns["since"][changed] = columns["seen"][changed] + condition.forget_after_ms
        columns["holds"][changed] = False
        if condition.no_data_for_ms is not None and caught_up:
            absent = ~forgotten & ~columns["holds"] & (age >= condition.no_data_for_ms)
            columns["since"][absent] = columns["seen"][absent]
            columns["holds"][absent] = True
            columns["value"][absent] = age[absent] / 1000
            changed |= absent
        rows: Rows = np.flatnonzero(changed)
        self._note_changed(rows)
        return rows

    @property
    def has_reported(self) -> bool:
        """Whether any subject has ever reported."""
        self.extend()
        return bool((self.columns["seen"] != _NEVER).any())

    def results_time(self, city_ms: int) -> int:
        """Return how far results are by now; when all of them are behind, none is absent."""
        return city_ms - self.subjects.behind_ms if self._by_city_windows else city_ms

    def expect(self, rows: Rows, city_ms: int) -> None:
        """Count the absence of subjects that have never reported from now on."""
        self.extend()
        now_ms = self.results_time(city_ms)
        new = rows[self.columns["seen"][rows] == _NEVER]
        self.columns["seen"][new] = now_ms
        self.columns["since"][new] = now_ms

    def assume(self, row: int, since: int, seen: int, value: float | None) -> None:
        """Hold as an active alert says, until events say otherwise."""
        self.extend()
        columns = self.columns
        columns["holds"][row], columns["since"][row] = True, since
        columns["seen"][row] = seen
        columns["value"][row] = np.nan if value is None else value

    def restore(self, held: Mapping[str, Held]) -> None:
        """Hold for these subjects and no others, once the latest events were read again."""
        self.extend()
        self.columns["holds"][:] = False
        for name, item in held.items():
            row = self.subjects.restore(name, item)
            self.extend()
            columns = self.columns
            columns["holds"][row], columns["since"][row] = True, item.since
            if columns["seen"][row] < item.seen:
                columns["seen"][row] = item.seen
                columns["value"][row] = np.nan if item.value is None else item.value
        self._stored = set(held)
        self._changed.clear()

    def take_changes(self, rule: str) -> Items:
        """Return the items of the state store that have changed since the last call."""
        items: Items = {}
        for name in self._changed:
            row, key = self.subjects.find(name), held_key(rule, self.condition.name, name)
            if row is not None and self.columns["holds"][row]:
                items[key] = encode(self._held(row))
                self._stored.add(name)
            elif name in self._stored:
                items[key] = None
                self._stored.discard(name)
        self._changed.clear()
        return items

    def _held(self, row: int) -> Held:
        columns, subject = self.columns, self.subjects.columns
        event = None if self._windowed else subject["event"][row]
        return Held(
            area=self.subjects.area_of(row),
            since=int(columns["since"][row]),
            seen=int(columns["seen"][row]),
            order=int(subject["order"][row]),
            at=int(subject["at"][row]),
            segment=self.subjects.segment_of(row),
            value=number(columns["value"][row]),
            event=event,
        )

    def keep(self, kept: Rows) -> None:
        self.extend()
        self.columns.keep(kept)
        if self._change is not None:
            self._change.columns.keep(kept)


class _Change:
    """The change of a value, or of one per another's, over a time."""

    def __init__(self, over_ms: int, with_per: bool) -> None:
        self._step_ms = max(1, over_ms // _STEPS)
        self._steps = _STEPS + 1 if over_ms else 1
        self._each_window = over_ms == 0
        fills = {"step": _NEVER // 2, "value": np.nan} | ({"per": np.nan} if with_per else {})
        self.columns = Columns(fills, dict.fromkeys(fills, self._steps))

    def since(self, rows: Rows, values: Floats, per: Floats | None, at: int, fresh: Mask) -> Floats:
        """Return values minus those at the time's beginning, or at the oldest known within it."""
        step = at if self._each_window else at // self._step_ms
        columns, steps = self.columns, self.columns["step"][rows]
        if self._each_window:
            oldest = np.zeros(len(rows), np.intp)
            known = steps[:, 0] > _NEVER // 2
        else:
            within = steps >= step - _STEPS
            oldest = np.where(within, steps, np.iinfo(np.int64).max).argmin(axis=1)
            known = np.asarray(within.any(axis=1))
        before = np.where(known, columns["value"][rows, oldest], np.nan)
        change = values - before
        if per is not None:
            change = _ratio(change, per - np.where(known, columns["per"][rows, oldest], np.nan))
        self._note(rows, values, per, step, fresh & ~np.isnan(values))
        return change

    def _note(self, rows: Rows, values: Floats, per: Floats | None, step: int, noted: Mask) -> None:
        place = 0 if self._each_window else step % self._steps
        columns = self.columns
        # The first value of a step stays.
        first: Mask = np.logical_and(noted, columns["step"][rows, place] != step)
        columns["step"][rows[first], place] = step
        columns["value"][rows[first], place] = values[first]
        if per is not None:
            columns["per"][rows[first], place] = per[first]


def _ratio(values: Floats, per: Floats) -> Floats:
    """Return values / per, NaN where per is not above zero."""
    result: Floats = np.divide(values, per, out=np.full(len(values), np.nan), where=per > 0)
    return result


def _among(batch: EventColumns, field: str, wanted: tuple[object, ...]) -> Mask:
    number = batch.source.field_type(field) == "number"
    column = batch.numbers(field) if number else batch.texts(field)
    found = np.zeros(len(column), np.bool_)
    for value in wanted:
        found |= column == value
    return found
