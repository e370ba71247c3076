"""Faust's consumer as the worker has it: every position is moved by the thread that fetches."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from faust.types import TP

from civicstream.city import City
from civicstream.kafka.topic_admin import create_topics
from civicstream.settings import KafkaSettings, Settings, WorkerSettings
from civicstream.topics import topic_name
from streams.service import Worker


def test_a_seek_never_takes_records_from_under_a_fetch(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    """aiokafka ended with KeyError when another thread sought while it gave records out."""
    create_topics(kafka)
    settings = Settings(kafka=kafka, worker=WorkerSettings(data_dir=tmp_path))
    tp = TP(topic_name(kafka.topic_prefix, "frames.noise"), 0)
    places: dict[str, int | None] = {}

    async def run() -> None:
        worker, stop = Worker(settings, City()), threading.Event()
        running = asyncio.create_task(worker.main(stop))
        consumer = worker.app.consumer
        async with asyncio.timeout(60):
            while tp not in worker.tasks.positions():
                await asyncio.sleep(0.1)
        client = consumer._thread._ensure_consumer()
        fetch, seek = client._fetcher.fetched_records, client.seek

        def note(name: str, call):  # type: ignore[no-untyped-def]
            def noted(*args, **kwargs):  # type: ignore[no-untyped-def]
                places[name] = threading.get_ident()
                return call(*args, **kwargs)

            return noted

        client._fetcher.fetched_records = note("fetch", fetch)
        client.seek = note("seek", seek)
        await consumer.seek(tp, 0)
        await consumer.perform_seek()
        await consumer.seek(TP("not assigned", 0), 5)
        async with asyncio.timeout(30):
            while len(places) < 2:
                await asyncio.sleep(0.1)
        assert consumer.lag(tp, 0) == 0
        assert client._isolation_level == "read_committed"
        stop.set()
        await running

    asyncio.run(run())
    assert places["seek"] == places["fetch"] != threading.get_ident()
