"""Who follows the city live misses nothing when the feeds process is killed and started again."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import httpx
import pytest

from civicstream.clock import now_ms
from civicstream.kafka.topic_admin import create_topics
from civicstream.settings import KafkaSettings
from tests.kit.citizen_events import case
from tests.kit.feeds_runs import feeds
from tests.kit.live_clients import Publisher, SseClient, following, publishing
from tests.kit.live_mirror import Mirror
from tests.kit.sink_process import sink_running
from tests.kit.sink_rows import loader, settings_for

pytestmark = [pytest.mark.fault, pytest.mark.slow]

CASES = 8
KILLS = 2


class Desk:
    """Publishes version after version of the same cases; the newest of each is the truth."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.newest: dict[str, int] = {}

    def __enter__(self) -> Desk:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def finish(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        for number in itertools.count():
            if self._stop.wait(0.01):
                return
            name, version = f"c{number % CASES}", 1 + number // CASES
            self._publisher.send("cases", case(id=name, version=version, updated_at=now_ms()))
            self.newest[name] = version


def versions(mirror: Mirror) -> dict[str, int]:
    return {name: item["version"] for name, item in mirror.state.get("cases", {}).items()}


def read_to_the_end(client: SseClient) -> None:
    """Read what still comes of a stream whose process is dead."""
    try:
        while client.next():
            pass
    except httpx.TransportError:
        pass


def test_after_kill_9_a_client_goes_on_with_a_snapshot_and_ends_with_the_newest_of_everything(
    kafka: KafkaSettings, postgres: str, tmp_path: Path
) -> None:
    """The look-back is shorter than the pause: what the sink has not written comes from Kafka."""
    create_topics(kafka)
    with loader(postgres):
        pass
    mirror, last_id = Mirror(), ""
    with (
        sink_running(settings_for(postgres, kafka), tmp_path),
        publishing(kafka) as publisher,
        Desk(publisher) as desk,
    ):
        for start in range(1, KILLS + 2):
            with (
                feeds(kafka, postgres, tmp_path, feeds__live_lookback_s=1) as front,
                following(
                    front.url.removesuffix("/open311/v2"), topics="cases", last_id=last_id
                ) as client,
            ):
                client.mirror = mirror
                before = len(mirror.seen)
                client.until(lambda m, before=before: len(m.seen) > before + 10)  # type: ignore[misc]
                assert mirror.seen[before] == "snapshot"
                if start <= KILLS:
                    front.child.kill()
                    read_to_the_end(client)
                    last_id = client.last_id
                else:
                    desk.finish()
                    client.until(lambda m: versions(m) == desk.newest)
    assert len(desk.newest) == CASES
    assert mirror.seen.count("snapshot") == KILLS + 1
