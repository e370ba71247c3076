"""Takes a decision: checks it, puts it on Kafka once, whatever the client sends again."""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from civicstream.cloudevents import cloud_headers
from civicstream.service_events import Action
from feeds.operations.decisions import DECISIONS, Asked, Standing, check
from feeds.operations.operation_store import OperationStore
from feeds.problems import Problem
from feeds.report_output import KafkaRecord

__all__ = ["DecisionService"]

Publish = Callable[[Sequence[KafkaRecord]], Awaitable[None]]

# Until the sink has stored an action, which takes a second; here they last for minutes.
_REMEMBERED = 1_000

# What people see comes from Kafka, often before the sink has stored it: the quick are not refused.
_STORED_WITHIN_S = 3.0
_LOOK_EVERY_S = 0.1


class DecisionService:
    """One for the process; ``source`` names it in the events."""

    def __init__(self, store: OperationStore, publish: Publish, source: str) -> None:
        self._store = store
        self._publish = publish
        self._source = source
        self._recent: OrderedDict[str, Action] = OrderedDict()

    async def decide(self, asked: Asked, by: str, key: str | None, now_ms: int) -> Action:
        """Return the action when Kafka has it; ``key`` is the client's Idempotency-Key.

        The same key of the same caller is the same action, however often it is sent. Raise
        Problem for what is refused, ServerUnavailable while Kafka or the database is away.
        """
        id_ = _action_id(by, key)
        if key is not None and (known := await self._known(id_)) is not None:
            return _again(known, asked, key)
        standing = await self._standing(asked)
        unit = None
        if DECISIONS[asked.kind, asked.action].unit:
            unit = await self._store.unit_state(asked.value or "")
        check(asked, standing, unit, now_ms)
        action = Action(
            id=id_,
            subject=asked.subject,
            action=asked.action,
            area=standing.area,
            by=by,
            at=now_ms,
            note=asked.note,
            value=asked.value,
        )
        await self._publish([self._record(action)])
        self._recent[id_] = action
        if len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)
        return action

    async def _known(self, id_: str) -> Action | None:
        return self._recent.get(id_) or await self._store.action(id_)

    async def _standing(self, asked: Asked) -> Standing:
        deadline = time.monotonic() + _STORED_WITHIN_S
        while (found := await self._store.standing(asked.kind, asked.id)) is None:
            if time.monotonic() > deadline:
                raise Problem(
                    404,
                    f"there is no {asked.kind} {asked.id[:100]!r} in the database; if it is new, "
                    "the sink is behind: see GET /api/v1/ledger",
                )
            await asyncio.sleep(_LOOK_EVERY_S)
        return found

    def _record(self, action: Action) -> KafkaRecord:
        headers = cloud_headers(
            "action",
            source=self._source,
            event_id=action.id,
            time_ms=action.at,
            subject=action.subject,
        )
        return KafkaRecord("actions", action.area.encode(), msgspec.json.encode(action), headers)


def _action_id(by: str, key: str | None) -> str:
    if key is None:
        return uuid.uuid4().hex
    return hashlib.blake2b(f"{by}\0{key}".encode(), digest_size=16).hexdigest()


def _again(known: Action, asked: Asked, key: str) -> Action:
    """Return the action that this key stands for; raise Problem when it was another one."""
    fields = (known.subject, known.action, known.note, known.value)
    if fields != (asked.subject, asked.action, asked.note, asked.value):
        raise Problem(
            422,
            f"Idempotency-Key {key!r} was used for {known.action} of {known.subject} already; "
            "take a new key for each decision",
        )
    return known
