"""What a worker says of the frames it had, held against the gateways' numbers, over a crash too."""

from __future__ import annotations

from pathlib import Path

from civicstream.clock import now_ms
from civicstream.events import ReadSequence
from civicstream.frames import FrameHeaders
from civicstream.kafka.topic_admin import create_topics
from civicstream.partitioning import partition_of
from civicstream.settings import KafkaSettings
from stack.servers.processes import wait_until
from tests.integration.test_worker import CITY, framed, reading, send
from tests.kit.worker_runs import start_worker, wait_for_report, worker_environment, worker_reports


def test_frames_that_never_came_are_named_and_what_is_read_again_after_a_crash_is_no_repeat(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    create_topics(kafka)
    environment = worker_environment(kafka, tmp_path, CITY)
    base = now_ms() - 10_000

    def publish(*numbers: int) -> None:
        send(
            kafka,
            [framed([reading("north-0-0", base + 1000 * number)], number) for number in numbers],
        )

    def said() -> ReadSequence:
        found = [s for s in worker_reports(kafka)["worker"].read if s.writer == "test"]
        return found[0]

    def has_read(following: int) -> bool:
        report = worker_reports(kafka).get("worker")
        return report is not None and any(s.next == following for s in report.read)

    child = start_worker(environment, tmp_path, "worker")
    publish(0, 1, 2, 5, 6, 7)
    wait_until(lambda: has_read(8), "the first frames", timeout_s=90, every_s=0.5)
    assert said().missing == [(3, 4)]
    assert said().partition == partition_of("north", kafka.partitions)
    child.kill()
    child.stop()

    child = start_worker(environment, tmp_path, "worker")
    wait_for_report(kafka, "worker", now_ms(), timeout_s=90)
    garbage = (b"\x00\xffgarbage", FrameHeaders("test", 1, 10, 1, base).to_kafka())
    publish(8, 9)
    send(kafka, [garbage])
    publish(9)
    wait_until(lambda: has_read(11) and said().repeated == 1, "the rest", timeout_s=90, every_s=0.5)
    found = said()
    assert child.stop() == 0, child.last_words()
    assert (found.missing, found.records, found.corrupt) == ([(3, 4)], 9, 1)
