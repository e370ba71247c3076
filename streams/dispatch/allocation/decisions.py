"""What people and units decide about allocations: accept, reject, override, done."""

from __future__ import annotations

from civicstream.service_events import Action, Allocation, Unit
from streams.dispatch.allocation.settings import DispatchSettings
from streams.dispatch.allocation.store import AdviceRecord, AllocationStore, Refusal, TaskRecord
from streams.dispatch.allocation.versions import AllocationVersions, fixed

__all__ = ["AllocationDecisions"]

Out = list[Allocation | Refusal]

MANUAL = "manual"


class AllocationDecisions:
    """Carries actions out on the store; what cannot be done is refused with the reason."""

    def __init__(
        self, store: AllocationStore, versions: AllocationVersions, settings: DispatchSettings
    ) -> None:
        self._store = store
        self._versions = versions
        self._settings = settings

    def apply(self, action: Action, now_ms: int) -> Out:
        """Return new versions, or a refusal; actions about other things change nothing."""
        kind, _, id_ = action.subject.partition("/")
        if kind == "allocation":
            advice = self._store.advices.get(id_)
            if advice is None:
                return [_refused(action, now_ms, f"allocation {id_!r} does not stand (any more)")]
            return self._about_advice(advice, action, now_ms)
        if action.action in {"override", "assign"} and kind in {"case", "incident"}:
            return self._override(action.subject, action, now_ms)
        return []

    def _about_advice(self, advice: AdviceRecord, action: Action, now_ms: int) -> Out:
        task = self._store.tasks[advice.allocation.task]
        if action.action == "accept":
            if advice.allocation.state == "accepted":
                return []
            return [self._versions.accept(advice, action.by, now_ms, action.note)]
        if action.action == "reject":
            return self._reject(advice, action, now_ms)
        if action.action == "override":
            return self._override(advice.allocation.task, action, now_ms)
        if action.action == "done":
            task.done = True
            return [self._versions.end(advice, "completed", action.by, now_ms, action.note)]
        return [
            _refused(
                action,
                now_ms,
                f"action {action.action!r} is unknown; use accept, reject, override or done",
            )
        ]

    def _reject(self, advice: AdviceRecord, action: Action, now_ms: int) -> Out:
        allocation = advice.allocation
        task = self._store.tasks[allocation.task]
        if task.started_at is not None:
            return [_refused(action, now_ms, f"{allocation.unit} is on site already; use done")]
        scope, _, minutes = (action.value or "").partition(":")
        try:
            length = float(minutes) if minutes else self._settings.reject_bar_min
        except ValueError:
            length = -1.0
        if scope not in {"", "unit", "task"} or not 0 < length < 100_000:
            return [
                _refused(
                    action,
                    now_ms,
                    f"value {action.value!r} is neither empty nor like 'unit:30' or 'task:30' "
                    "(the unit takes nothing, or the task gets nobody, for 30 minutes)",
                )
            ]
        until = now_ms + round(length * 60_000)
        self._versions.bar(allocation.task, allocation.unit, until)
        if scope == "unit":
            self._store.units[allocation.unit].barred_until = until
            self._store.units.touch(allocation.unit)
        elif scope == "task":
            task.barred_until = until
        return [self._versions.end(advice, "rejected", action.by, now_ms, action.note)]

    def _override(self, task_id: str, action: Action, now_ms: int) -> Out:
        task, unit = self._store.tasks.get(task_id), self._store.units.get(action.value or "")
        problem = self._why_not(task, task_id, unit.unit if unit else None, action.value)
        if problem or task is None or unit is None:
            return [_refused(action, now_ms, problem)]
        if self._sent_already(task_id, unit.unit.id):
            return []
        out: Out = []
        for standing in (self._store.advice_of(task_id), self._store.advice_for_unit(unit.unit.id)):
            if standing is not None and standing.allocation.id in self._store.advices:
                note = action.note or f"{action.by} sends {unit.unit.id} to {task_id}"
                out.append(self._versions.end(standing, "overridden", action.by, now_ms, note))
        manual = fixed(
            task.task,
            unit.unit.id,
            MANUAL,
            action.by,
            now_ms,
            f"{action.by} decided so.",
            action.note,
        )
        task.barred_until = 0
        return [*out, self._versions.open(manual, pinned=True)]

    def _sent_already(self, task_id: str, unit: str) -> bool:
        """Whether the same was decided before: sent again, it must not turn the unit round."""
        advice = self._store.advice_of(task_id)
        return (
            advice is not None
            and advice.allocation.unit == unit
            and advice.allocation.state == "accepted"
        )

    def _why_not(
        self, task: TaskRecord | None, task_id: str, unit: Unit | None, named: str | None
    ) -> str:
        if task is None:
            return f"task {task_id!r} is not open"
        if unit is None:
            return f"unit {named!r} is unknown; name the unit as the action's value"
        if busy := _unfit(unit, task.task.skill):
            return busy
        if task.started_at is not None:
            return f"a unit is on site of {task_id!r} already"
        return ""


def _unfit(unit: Unit, skill: str) -> str:
    """Return why the unit cannot take any task of this skill now, '' when it can."""
    if skill not in unit.skills:
        able = ", ".join(unit.skills) or "nothing"
        return f"unit {unit.id!r} cannot do {skill!r}, it can do {able}"
    if unit.state == "off_duty":
        return f"unit {unit.id!r} is off duty"
    if unit.state == "on_site":
        return f"unit {unit.id!r} is on site of {unit.task!r}"
    return ""


def _refused(action: Action, now_ms: int, reason: str) -> Refusal:
    return Refusal(action.subject, action.action, action.by, action.area, now_ms, reason)
