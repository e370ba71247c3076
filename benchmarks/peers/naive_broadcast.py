"""A live feed as it is usually written: a queue for each client, each update encoded for each.

``python -m benchmarks.peers.naive_broadcast PORT BOOTSTRAP TOPIC``. Starlette's StreamingResponse
on uvicorn, a Kafka consumer on a thread.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from kafka import KafkaConsumer, TopicPartition
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

_clients: set[asyncio.Queue[Any]] = set()


async def live(_request: Request) -> StreamingResponse:
    return StreamingResponse(_events(), media_type="text/event-stream")


async def _events() -> AsyncIterator[str]:
    queue: asyncio.Queue[Any] = asyncio.Queue()
    _clients.add(queue)
    try:
        yield 'data: {"id":"0","load":-1,"at":0}\n\n'
        while True:
            yield f"data: {json.dumps(await queue.get())}\n\n"
    finally:
        _clients.discard(queue)


def _broadcast(event: Any) -> None:
    for queue in _clients:
        queue.put_nowait(event)


def _consume(bootstrap: str, topic: str, loop: asyncio.AbstractEventLoop) -> None:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=None)
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    consumer.seek_to_end(partition)
    consumer.position(partition)
    for record in consumer:
        loop.call_soon_threadsafe(_broadcast, json.loads(record.value))


async def _serve(port: int, bootstrap: str, topic: str) -> None:
    loop = asyncio.get_running_loop()
    threading.Thread(target=_consume, args=(bootstrap, topic, loop), daemon=True).start()
    app = Starlette(routes=[Route("/live", live)])
    config = uvicorn.Config(app, port=port, log_level="warning", access_log=False, backlog=2048)
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    uvicorn_loop = uvicorn.Config(lambda: None, loop="uvloop").get_loop_factory()
    with asyncio.Runner(loop_factory=uvicorn_loop) as runner:
        runner.run(_serve(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
