"""The paths of operations below ``/api/v1``; the guard has let the caller in already."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header, Path, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from civicstream.clock import now_ms
from civicstream.errors import ServerUnavailable
from feeds.access.callers import Caller
from feeds.api import with_slashes
from feeds.operations.decision_service import DecisionService
from feeds.operations.decisions import Asked, Kind
from feeds.operations.forgetting import Forgetting, Forgotten
from feeds.problems import Problem

__all__ = ["operations_router"]

Id = Annotated[str, Path(min_length=1, max_length=200, description="As the lists show it.")]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="A new one for each decision: sent again it decides nothing twice.",
    ),
]
_Note = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2_000)]

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"description": "A field is missing or wrong; the detail names it."},
    404: {"description": "The database has no such thing, or no such unit."},
    409: {"description": "Its state does not allow it (any more)."},
    422: {"description": "The Idempotency-Key was used for another decision."},
    503: {"description": "Kafka or the database is away; send it again with the same key."},
}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Remark(_Body):
    """A decision without more to it."""

    note: _Note = Field("", description="What the others shall read.")


class Silence(Remark):
    """For how long an alert is to be silent."""

    minutes: int = Field(ge=1, le=7 * 24 * 60, examples=[30])


class Send(Remark):
    """Whom to send."""

    unit: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class Person(_Body):
    """Who is to be forgotten."""

    pseudonym: str = Field(description="32 hexadecimal digits, a report's reporter.")


class Decided(BaseModel):
    """The action as it is on Kafka, topic ``actions``."""

    id: str
    subject: str
    action: str
    area: str
    by: str
    at: int = Field(description="Epoch milliseconds.")
    note: str = ""
    value: str | None = None


class Me(BaseModel):
    """Who is calling, and what they may do."""

    name: str
    scopes: list[str]


def operations_router(decisions: DecisionService, forgetting: Forgetting) -> APIRouter:
    """Return the routes; each answers 202 with the action once Kafka has confirmed it."""
    router = APIRouter(tags=["operations"])

    @router.get("/me", summary="Who am I?")
    async def me(request: Request) -> Me:
        caller = _caller(request)
        return Me(name=caller.name, scopes=sorted(caller.scopes))

    plain: tuple[tuple[Kind, str], ...] = (
        ("alert", "acknowledge"),
        ("alert", "unsilence"),
        ("allocation", "accept"),
        ("allocation", "reject"),
        *(("case", name) for name in ("acknowledge", "start", "resolve", "reject")),
    )
    for kind, action in plain:
        _add(router, decisions, kind, action)
    _add_sending(router, decisions, "allocation", "override")
    _add_sending(router, decisions, "case", "assign")

    @router.post(with_slashes("/alerts/{id}/silence"), **_described("alert", "silence"))
    async def silence(id: Id, body: Silence, request: Request, key: Key = None) -> Decided:  # noqa: A002
        asked = Asked("alert", id, "silence", body.note, str(body.minutes))
        return await _decide(decisions, asked, request, key)

    @router.post("/admin/forget", summary="Forget a citizen as a person.", responses=_PROBLEMS)
    async def forget(body: Person, request: Request) -> Forgotten:
        try:
            return await forgetting.forget(body.pseudonym, _caller(request).name)
        except ServerUnavailable as error:
            raise _away(error) from error

    return router


def _add(router: APIRouter, decisions: DecisionService, kind: Kind, action: str) -> None:
    @router.post(with_slashes(f"/{kind}s/{{id}}/{action}"), **_described(kind, action))
    async def decide(id: Id, body: Remark, request: Request, key: Key = None) -> Decided:  # noqa: A002
        return await _decide(decisions, Asked(kind, id, action, body.note), request, key)


def _add_sending(router: APIRouter, decisions: DecisionService, kind: Kind, action: str) -> None:
    @router.post(with_slashes(f"/{kind}s/{{id}}/{action}"), **_described(kind, action))
    async def send(id: Id, body: Send, request: Request, key: Key = None) -> Decided:  # noqa: A002
        return await _decide(decisions, Asked(kind, id, action, body.note, body.unit), request, key)


def _described(kind: str, action: str) -> dict[str, Any]:
    return {
        "status_code": 202,
        "summary": f"{action.capitalize()} one of the {kind}s.",
        "operation_id": f"{kind}_{action}",
        "response_description": "The action; Kafka has it.",
        "responses": _PROBLEMS,
    }


async def _decide(
    decisions: DecisionService, asked: Asked, request: Request, key: str | None
) -> Decided:
    try:
        action = await decisions.decide(asked, _caller(request).name, key, now_ms())
    except ServerUnavailable as error:
        raise _away(error) from error
    return Decided(**msgspec.structs.asdict(action))


def _caller(request: Request) -> Caller:
    """Return whom the guard let in; without a guard nobody is."""
    caller = request.scope.get("caller")
    if not isinstance(caller, Caller):
        raise Problem(401, "nobody was let in: the guard is not before this route")
    return caller


def _away(error: ServerUnavailable) -> Problem:
    return Problem(503, str(error), {"retry-after": "5"})
