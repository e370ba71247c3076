"""The live feed over real sockets, from real Kafka and PostgreSQL."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import pytest
from websockets.sync.client import connect

from civicstream.city import Area, City, Segment
from civicstream.clock import now_ms
from civicstream.events import Alert, TrafficResult, TrafficRow
from civicstream.geojson import write_city
from civicstream.kafka.topic_admin import create_topics
from civicstream.service_events import Unit
from civicstream.settings import KafkaSettings
from stack.servers.processes import free_port
from tests.kit.citizen_events import case
from tests.kit.feeds_runs import Front, feeds
from tests.kit.live_clients import Publisher, following, publishing, raw_request, reading
from tests.kit.live_mirror import Mirror
from tests.kit.servers import Cluster, start_kafka
from tests.kit.sink_rows import Loader, loader

DOC = Path(__file__).parents[2] / "docs" / "feeds.md"
STREET = ((13.40, 52.50), (13.42, 52.50))


def unit(name: str, *, at: int | None = None, **change: Any) -> Unit:
    fields: dict[str, Any] = {
        "id": name,
        "area": "north",
        "state": "available",
        "skills": ["roads"],
        "lon": 13.41,
        "lat": 52.50,
        "shift_end": 0,
        "capacity": 1.0,
        "load": 0.0,
        "at": now_ms() if at is None else at,
    }
    return Unit(**(fields | change))


def alert(name: str, version: int, **change: Any) -> Alert:
    fields: dict[str, Any] = {
        "id": name,
        "version": version,
        "state": "active",
        "change": "raised",
        "rule": "jam",
        "key": f"jam/{name}",
        "severity": "severe",
        "area": "north",
        "subject": "segment/s1",
        "headline": "Traffic stands on s1",
        "started_at": 1,
        "updated_at": 2,
        "computed_at": 3,
    }
    return Alert(**(fields | change))


def traffic(segments: int, window_start: int, *, area: str = "north") -> TrafficResult:
    rows = [
        TrafficRow(
            segment=f"{area}-{i}",
            readings=3,
            vehicles=30.0,
            flow_veh_h=1800.0,
            time_mean_speed_kmh=50.0,
            space_mean_speed_kmh=48.0,
            p85_speed_kmh=60.0,
            occupancy=0.1,
            density_veh_km_lane=12.0,
            level_of_service="C",
            travel_time_index=1.2,
            coverage=1.0,
        )
        for i in range(segments)
    ]
    return TrafficResult(area, window_start, window_start + 60_000, "final", now_ms(), rows)


@dataclass(frozen=True)
class Servers:
    """What all tests of this file share; each uses ids of its own."""

    kafka: KafkaSettings
    database: Loader
    publisher: Publisher
    folder: Path

    def feeds(self, **settings: Any) -> AbstractContextManager[Front]:
        return feeds(self.kafka, self.database.url, self.folder, **settings)


@pytest.fixture(scope="module")
def servers(
    postgres_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("live")
    port = free_port()
    broker = start_kafka(port, folder / "kafka")
    kafka = KafkaSettings(bootstrap=f"127.0.0.1:{port}", partitions=4)
    try:
        create_topics(kafka)
        with (
            postgres_cluster.database() as url,
            loader(url) as database,
            publishing(kafka) as publisher,
        ):
            yield Servers(kafka, database, publisher, folder)
    finally:
        broker.stop()


@pytest.fixture(scope="module")
def url(servers: Servers) -> Iterator[str]:
    """Root of a feeds process that knows a small city."""
    ring = ((13.3, 52.4), (13.5, 52.4), (13.5, 52.6), (13.3, 52.6), (13.3, 52.4))
    city = City(
        (Area("east", "East", ring),),
        (
            Segment(
                id="east-0",
                area="east",
                corridor="A",
                position=0,
                road_class="street",
                lanes=1,
                length_m=1000.0,
                free_flow_kmh=50.0,
                line=STREET,
            ),
        ),
    )
    write_city(city, servers.folder / "city.geojson")
    with servers.feeds(
        city__file=servers.folder / "city.geojson", feeds__live_heartbeat_s=1
    ) as front:
        yield root(front)


@pytest.fixture
def publisher(servers: Servers) -> Publisher:
    return servers.publisher


def root(front: Front) -> str:
    return front.url.removesuffix("/open311/v2")


def written(database: Loader, *events: tuple[str, msgspec.Struct]) -> None:
    """Put events into the database as the sink does."""
    database.write(
        *(database.record(f"city.{topic}", msgspec.json.encode(e), []) for topic, e in events)
    )
    assert not database.dead_letters, database.dead_letters


def test_a_client_gets_the_state_and_then_every_change(url: str, publisher: Publisher) -> None:
    publisher.send("units", unit("crew-1"))
    with following(url) as client:
        client.has("units", "crew-1")
        for load in range(1, 6):
            publisher.send("units", unit("crew-1", load=float(load)), unit(f"crew-{load + 1}"))
            client.has("units", "crew-1", load=float(load))
        client.has("units", "crew-6")
        assert client.mirror.seen[0] == "snapshot"
        assert client.answer.headers["content-type"].startswith("text/event-stream")
        assert client.answer.headers["cache-control"] == "no-store"


def test_the_commands_of_the_docs_show_a_snapshot_and_deltas(
    url: str, publisher: Publisher
) -> None:
    """Each curl command of the section, with this server's address, while alerts are raised."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    section = DOC.read_text(encoding="utf-8").split("## Live feed")[1].split("\n## ")[0]
    commands = re.findall(r"^curl (?:.*\\\n)*.*$", section, re.MULTILINE)
    assert len(commands) >= 2
    for number, command in enumerate(commands, 1):
        here = command.replace("http://127.0.0.1:8311", url)
        here = here.replace("curl ", "curl --noproxy 127.0.0.1 -s --max-time 8 ", 1)
        with subprocess.Popen(["bash", "-c", here], stdout=subprocess.PIPE) as running:
            version = 0
            while running.poll() is None:  # curl cannot be asked whether it is connected
                version += 1
                publisher.send("alerts", alert(f"doc-{number}", version, value=float(version)))
                time.sleep(0.3)
            said = running.communicate()[0].decode()
        names = re.findall(r"^event: (\w+)$", said, re.MULTILINE)
        assert names[0] == "snapshot", said
        assert "delta" in names, said
        assert f'"id":"doc-{number}"' in said


def test_gzip_says_the_same_in_fewer_bytes(url: str, publisher: Publisher) -> None:
    publisher.send("results.traffic", traffic(400, 60_000, area="packed"))
    wanted = {"topics": "segments", "area": "packed"}
    with following(url, **wanted) as plain, following(url, gzip=True, **wanted) as packed:
        for minute in range(2, 6):
            publisher.send("results.traffic", traffic(400, minute * 60_000, area="packed"))
        for client in (plain, packed):
            client.has("segments", "packed-399", window_start=300_000)
        assert packed.answer.headers["content-encoding"] == "gzip"
        assert "content-encoding" not in plain.answer.headers
        assert packed.mirror.items == plain.mirror.items
        assert packed.answer.num_bytes_downloaded < plain.answer.num_bytes_downloaded / 3


def test_a_client_that_was_cut_off_goes_on_without_a_hole_and_elsewhere_starts_anew(
    url: str, servers: Servers, publisher: Publisher
) -> None:
    with following(url, topics="units") as client:
        publisher.send("units", unit("cut-1"))
        client.has("units", "cut-1")
        mirror, last_id = client.mirror, client.last_id
    for number in range(2, 6):
        publisher.send("units", unit(f"cut-{number}"))
        time.sleep(0.12)  # each in a message of its own
    with following(url, topics="units", last_id=last_id) as again:
        again.mirror = mirror
        again.has("units", "cut-5")
        assert again.mirror.seen.count("snapshot") == 1
    with following(url, topics="units,cases", last_id=last_id) as other_filter:
        assert other_filter.next() == "snapshot"
    with servers.feeds(feeds__id="f2") as second:
        publisher.send("units", unit("cut-6"))
        with following(root(second), topics="units", last_id=last_id) as anew:
            anew.has("units", "cut-6")
            assert anew.mirror.seen[0] == "snapshot"
            assert set(anew.mirror.state["units"]) >= set(mirror.state["units"])


def test_a_websocket_says_the_same_as_server_sent_events(url: str, publisher: Publisher) -> None:
    publisher.send("units", unit("ws-1"))
    with (
        following(url, topics="units") as sse,
        connect(f"ws{url[4:]}/api/v1/live/ws?topics=units", proxy=None) as link,
    ):
        mirror, last_id = Mirror(), ""
        for load in range(1, 5):
            publisher.send("units", unit("ws-1", load=float(load)))
            sse.has("units", "ws-1", load=float(load))
        while mirror.seq != sse.mirror.seq:
            told = json.loads(link.recv(timeout=20))
            last_id = told["id"]
            mirror.apply(told["event"], told)
        assert mirror.items == sse.mirror.items
        assert last_id == sse.last_id
    publisher.send("units", unit("ws-2"))
    again = f"ws{url[4:]}/api/v1/live/ws?topics=units&last_event_id={last_id}"
    with connect(again, proxy=None) as link:
        assert json.loads(link.recv(timeout=20))["event"] in {"delta", "heartbeat"}


def test_filters_hold_back_what_is_elsewhere_and_take_away_what_leaves(
    url: str, publisher: Publisher
) -> None:
    publisher.send("results.traffic", traffic(2, 60_000, area="east"), traffic(2, 60_000))
    publisher.send("alerts", alert("a", 1, area="east"), alert("b", 1, severity="minor"))
    publisher.send("units", unit("near", area="east"), unit("far", area="east", lon=10.0))
    box = "13.41,52.49,13.45,52.51"
    with (
        following(url) as everything,
        following(url, topics="segments,units", area="east", bbox=box) as near,
        following(url, topics="alerts", area="east", min_severity="moderate") as severe,
    ):
        everything.has("segments", "north-1")
        everything.has("units", "far")
        everything.has("alerts", "b")
        near.has("units", "near")
        near.has("segments", "east-0", lon=13.41, lat=52.5)
        severe.has("alerts", "a")
        publisher.send("alerts", alert("a", 2, area="east", severity="minor"))
        publisher.send("units", unit("near", area="east", lon=10.0))
        severe.until(lambda mirror: not mirror.items)
        near.until(lambda mirror: not mirror.state["units"])
        # where east-1 is nobody knows, but its area is around the box
        assert set(near.mirror.state["segments"]) == {"east-0", "east-1"}


def test_heartbeats_come_when_nothing_changes(url: str) -> None:
    with following(url, topics="demand") as client:
        assert [client.next() for _ in range(3)] == ["snapshot", "heartbeat", "heartbeat"]


def test_a_bad_filter_is_refused_as_a_problem(url: str) -> None:
    bad = httpx.get(f"{url}/api/v1/live?bbox=1,2", trust_env=False, timeout=20)
    assert (bad.status_code, bad.json()["parameter"]) == (400, "bbox")


def test_a_process_that_starts_knows_what_is_in_the_database_and_what_the_sink_has_yet_to_write(
    servers: Servers,
) -> None:
    """The sink is behind by more than the look-back: Kafka is read from where the sink is."""
    now = now_ms()
    first = case(id="behind", version=1, updated_at=now)
    written(
        servers.database,
        ("cases", first),
        ("cases", case(id="done", updated_at=now, state="resolved")),
        ("units", unit("stored", at=now)),
        ("alerts", alert("stored", 1, updated_at=now, value=3.5)),
    )
    servers.publisher.send("cases", first, case(id="done", state="resolved"))
    later = [case(id="behind", version=v, note=f"version {v}") for v in range(2, 5)]
    servers.publisher.send("cases", *later)
    time.sleep(1.2)  # until it is older than the look-back
    with (
        servers.feeds(feeds__live_lookback_s=1) as front,
        following(root(front), topics="cases,units,alerts") as client,
    ):
        client.has("cases", "behind", version=4, note="version 4")
        client.has("units", "stored", skills=["roads"])
        client.has("alerts", "stored", value=3.5, updated_at=now)
        assert "complete" not in client.data[0]


def test_without_the_database_the_feed_says_that_it_is_not_complete(servers: Servers) -> None:
    nowhere = "postgresql://127.0.0.1:1/none"
    servers.publisher.send("units", unit("alone"))
    with (
        servers.feeds(feeds__database_url=nowhere) as front,
        following(root(front)) as client,
    ):
        client.has("units", "alone")
        assert client.data[0]["complete"] is False


def test_one_client_too_many_is_told_the_limit_and_the_end_of_the_process_ends_all(
    servers: Servers,
) -> None:
    with servers.feeds(feeds__live_max_clients=1) as front:
        at = root(front)
        with following(at) as client:
            client.next()
            refused = httpx.get(f"{at}/api/v1/live", trust_env=False, timeout=20)
            assert refused.status_code == 503
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.headers["retry-after"] == "10"
            assert "CIVICSTREAM_FEEDS__LIVE_MAX_CLIENTS" in refused.json()["detail"]
            began = time.monotonic()
            assert front.child.stop() == 0
            assert time.monotonic() - began < 12  # the time for open requests would be 15 s
            while client.next():
                pass


def test_a_client_that_does_not_read_costs_nothing_and_is_told_what_it_missed(
    url: str, publisher: Publisher
) -> None:
    wanted = {"topics": "segments", "area": "slow"}
    process = _process_at(url)
    with ExitStack() as stack:
        quick = stack.enter_context(following(url, **wanted))
        slow = [raw_request(url, receive_buffer=4_096, **wanted) for _ in range(50)]
        for link in slow:
            stack.callback(link.close)
        publisher.send("results.traffic", traffic(300, 60_000, area="slow"))
        quick.has("segments", "slow-299")
        before_mb = process.memory_info().rss / 1e6
        minutes = 30
        for minute in range(2, minutes + 2):
            publisher.send("results.traffic", traffic(300, minute * 60_000, area="slow"))
            quick.has("segments", "slow-299", window_start=minute * 60_000)
            time.sleep(0.1)
        message_mb = len(json.dumps(quick.data[-1])) / 1e6
        grown_mb = process.memory_info().rss / 1e6 - before_mb
        # Queues would hold what each has not read: message_mb * minutes for each client.
        print(f"grown by {grown_mb:.1f} MB of {message_mb * minutes * len(slow):.0f} MB unread")  # noqa: T201
        assert grown_mb < 0.25 * message_mb * minutes * len(slow), grown_mb
        late = reading(slow[0])
        late.until(lambda mirror: mirror.seq == quick.mirror.seq)
        assert "conflated" in late.mirror.seen
        assert late.mirror.items == quick.mirror.items


def _process_at(url: str) -> psutil.Process:
    """Return our child that listens at ``url``."""
    port = int(url.rpartition(":")[2])
    for child in psutil.Process().children(recursive=True):
        if any(c.laddr.port == port for c in child.net_connections() if c.status == "LISTEN"):
            return child
    raise AssertionError(f"no child listens on {port}")
