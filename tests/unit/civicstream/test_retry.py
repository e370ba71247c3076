"""Patience: pauses double up to a bound, a stop ends the wait at once, a state is said once."""

from __future__ import annotations

import itertools
import logging
import threading
import time

import pytest

from civicstream.errors import ServerUnavailable
from civicstream.retry import RetryTimer, ThrottledLog, pauses, wait_until_available

log = logging.getLogger("test")


def test_pauses_double_up_to_the_longest() -> None:
    assert list(itertools.islice(pauses(0.5, 3), 5)) == [0.5, 1, 2, 3, 3]


def test_a_server_that_comes_is_waited_for_and_named_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answers = iter([False, False, True])

    def attempt() -> str:
        if not next(answers):
            raise ServerUnavailable("connection refused")
        return "here"

    with caplog.at_level(logging.INFO):
        assert wait_until_available(attempt, "Kafka at k:9092", log=log) == "here"
    assert [r.getMessage() for r in caplog.records] == [
        "waiting for Kafka at k:9092: connection refused",
        "Kafka at k:9092 answers",
    ]


def test_a_stop_ends_the_wait_at_once() -> None:
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    began = time.monotonic()

    def attempt() -> None:
        raise ServerUnavailable("away")

    assert wait_until_available(attempt, "the database", log=log, stop=stop) is None
    assert time.monotonic() - began < 5


def test_after_the_timeout_the_last_error_is_raised() -> None:
    def attempt() -> None:
        raise ServerUnavailable("still away")

    with pytest.raises(
        ServerUnavailable, match=r"the database did not answer in 0.1 s: still away"
    ):
        wait_until_available(attempt, "the database", log=log, timeout_s=0.1)


def test_a_lasting_state_is_logged_again_after_a_minute_and_its_end_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    throttled = ThrottledLog(log, clock=lambda: now)
    with caplog.at_level(logging.INFO):
        for now in range(0, 121, 10):  # noqa: B007 the clock reads it
            throttled.warning("away", "Kafka is away")
        throttled.warning("slow", "Kafka is slow")
        throttled.over("Kafka answers")
        throttled.over("Kafka answers")
    words = [r.getMessage() for r in caplog.records]
    assert words == ["Kafka is away"] * 3 + ["Kafka is slow", "Kafka answers"]


def test_a_loop_that_must_not_wait_tries_again_after_growing_pauses() -> None:
    attempts = RetryTimer(0.5, 3.0)
    assert attempts.is_due(0.0)
    now, due = 0.0, []
    for _ in range(4):
        attempts.failed(now)
        assert not attempts.is_due(now)
        now = next(t / 2 for t in itertools.count() if attempts.is_due(t / 2))
        due.append(now)
    assert due == [0.5, 1.5, 3.5, 6.5]
    attempts.succeeded()
    attempts.failed(now)
    assert attempts.is_due(now + 0.5)
