"""A stream whose caller may not go on ends in an orderly way; all others go on."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from civicstream.errors import ServerUnavailable
from feeds.access.authentication import Admitted
from feeds.access.callers import Caller
from feeds.access.open_streams import OpenStreams

READER = frozenset({"read"})
EVERY_S = 0.02


class Revocations:
    """What the database would say of each credential."""

    def __init__(self) -> None:
        self.ended: set[str] = set()
        self.away: set[str] = set()
        self.asked = asyncio.Event()

    async def still_good(self, credential: str) -> bool:
        self.asked.set()
        if credential in self.away:
            raise ServerUnavailable("the database does not answer")
        return credential not in self.ended


async def endless(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer with a stream that never ends by itself."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})
    await asyncio.Event().wait()


async def never_begins(_scope: Scope, _receive: Receive, _send: Send) -> None:
    await asyncio.Event().wait()


async def fails(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise ValueError("a defect of the application")


async def _receive() -> Message:
    await asyncio.Event().wait()
    return {}


def admitted(credential: str, expires_at: float | None = None) -> Admitted:
    return Admitted(Caller(credential, READER, credential, expires_at), credential)


async def _serve(
    streams: OpenStreams, app: Any, who: Admitted, kind: str = "http"
) -> tuple[asyncio.Task[None], list[Message]]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": kind, "method": "GET", "path": "/api/v1/live", "headers": []}
    task = asyncio.create_task(streams.serve(app, who, scope, _receive, send))
    await asyncio.sleep(0)
    return task, sent


@pytest.mark.parametrize(
    ("app", "kind", "last"),
    [
        (endless, "http", {"type": "http.response.body", "body": b"", "more_body": False}),
        (
            endless,
            "websocket",
            {"type": "websocket.close", "code": 1008, "reason": "the token has ended"},
        ),
    ],
)
def test_a_revoked_callers_stream_is_closed_and_others_go_on(
    app: Any, kind: str, last: Message
) -> None:
    async def run() -> None:
        said = Revocations()
        streams = OpenStreams(said.still_good, EVERY_S)
        await streams.open()
        cut, sent = await _serve(streams, app, admitted("cut"), kind)
        kept, others = await _serve(streams, app, admitted("kept"), kind)
        unsure, _ = await _serve(streams, app, admitted("unsure"), kind)
        said.away.add("unsure")
        said.ended.add("cut")
        await asyncio.wait_for(cut, 10)
        assert sent[-1] == last
        said.asked.clear()
        await asyncio.wait_for(said.asked.wait(), 10)
        assert not kept.done()
        assert not unsure.done(), "while the database is away nobody is cut off"
        assert len(others) == 1
        for task in (kept, unsure):
            task.cancel()
        await asyncio.gather(kept, unsure, return_exceptions=True)
        await streams.close()

    asyncio.run(run())


def test_a_stream_ends_when_its_token_does_and_one_not_yet_begun_is_refused() -> None:
    async def run() -> None:
        streams = OpenStreams(Revocations().still_good, EVERY_S)
        await streams.open()
        soon = admitted("soon", time.time() + 0.1)
        begun, sent = await _serve(streams, endless, soon)
        waiting, refused = await _serve(streams, never_begins, soon)
        await asyncio.wait_for(asyncio.gather(begun, waiting), 10)
        assert sent[-1]["more_body"] is False
        assert refused[0]["status"] == 401
        await streams.close()

    asyncio.run(run())


def test_a_defect_of_the_application_is_not_hidden() -> None:
    async def run() -> None:
        streams = OpenStreams(Revocations().still_good, EVERY_S)
        failing, _ = await _serve(streams, fails, admitted("x"))
        with pytest.raises(ValueError, match="a defect"):
            await failing

    asyncio.run(run())
