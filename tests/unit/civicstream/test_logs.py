"""While a broker is away, the log says so in a line a minute, not in thousands."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from civicstream.logs import RepeatFilter


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def written(clock: Clock) -> Iterator[io.StringIO]:
    """What comes out of the filter; of the libraries' loggers and of one of ours."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RepeatFilter(clock))
    names = ("kafka", "aiokafka", "ingest.service")
    for name in names:
        logging.getLogger(name).addHandler(handler)
    yield stream
    for name in names:
        logging.getLogger(name).removeHandler(handler)


def absent_broker(attempt: int) -> None:
    """What kafka-python and aiokafka say of one attempt to reach a broker."""
    address = f"127.0.0.1:{attempt}"
    logging.getLogger("kafka.net.transport").error("%s: socket disconnected", address)
    logging.getLogger("kafka.net.manager").error("Connection failed: %s", address)
    logging.getLogger("kafka.cluster").warning("No node available for metadata refresh")
    logging.getLogger("aiokafka.client").error("Unable connect to node with id 1: %s", address)


def test_a_thousand_attempts_on_an_absent_broker_are_one_line_a_minute_and_library(
    clock: Clock, written: io.StringIO
) -> None:
    for attempt in range(1_000):
        clock.now = attempt * 0.059
        absent_broker(attempt)
    assert written.getvalue().splitlines() == [
        "127.0.0.1:0: socket disconnected",
        "Unable connect to node with id 1: 127.0.0.1:0",
    ]
    clock.now = 60.1
    absent_broker(1_000)
    assert written.getvalue().splitlines()[2:] == [
        "127.0.0.1:1000: socket disconnected (and 2999 lines like it before)",
        "Unable connect to node with id 1: 127.0.0.1:1000 (and 999 lines like it before)",
    ]


def test_another_state_is_said_at_once(clock: Clock, written: io.StringIO) -> None:
    absent_broker(1)
    sender = logging.getLogger("kafka.producer.sender")
    for reason in ("NotLeaderError", "NotLeaderError"):
        sender.warning("Got error produce response: %s", reason)
    sender.error("Aborting producer batches")
    assert written.getvalue().splitlines()[2:] == [
        "Got error produce response: NotLeaderError",
        "Aborting producer batches",
    ]


def test_our_own_lines_all_pass(written: io.StringIO) -> None:
    for n in range(3):
        logging.getLogger("ingest.service").warning("line %d", n)
    assert len(written.getvalue().splitlines()) == 3
