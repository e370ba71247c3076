"""Whether the MQTT broker holds back is seen from when its messages come."""

from __future__ import annotations

from ingest.held_back import HeldBack

SHORT, LONG = 0.03, 0.4


def after_a_vain_wait(waits: HeldBack, now: float) -> float:
    """Wait in vain, acknowledge, end the turn; return when that is."""
    waits.came(now, waiting=False)
    waits.waited()
    waits.acknowledged()
    now += waits.wait_s
    waits.turn_ended(now)
    return now


def test_a_broker_that_sends_at_once_after_acknowledgements_is_waited_for_briefly() -> None:
    waits = HeldBack(SHORT, LONG)
    at = 10.0
    found = []
    for _ in range(32):
        at = after_a_vain_wait(waits, at) + 0.002
        waits.came(at, waiting=False)
        found.append(waits.wait_s)
    assert set(found) == {SHORT, 4 * SHORT}
    assert found.count(4 * SHORT) == 2, "so that a broker can show that it does not"


def test_a_broker_that_sends_later_is_waited_for_longer() -> None:
    waits = HeldBack(SHORT, LONG)
    at = after_a_vain_wait(waits, 10.0)
    waits.came(at + 0.05, waiting=False)
    assert waits.wait_s == LONG


def test_what_comes_after_a_pause_without_acknowledgements_shows_that_it_does_not() -> None:
    waits = HeldBack(SHORT, LONG)
    waits.came(10.0, waiting=False)
    waits.came(10.02, waiting=True)
    assert waits.wait_s == SHORT, "no pause"
    waits.came(10.06, waiting=True)
    assert (waits.wait_s, waits.over_at) == (LONG, 10.06 + LONG)


def test_a_pause_with_nothing_to_acknowledge_shows_nothing() -> None:
    waits = HeldBack(SHORT, LONG)
    waits.came(10.0, waiting=False)
    waits.came(20.0, waiting=False)
    assert waits.wait_s == SHORT


def test_what_was_read_before_the_acknowledgements_went_out_shows_nothing() -> None:
    waits = HeldBack(SHORT, LONG)
    waits.came(10.0, waiting=False)
    waits.waited()
    waits.acknowledged()
    waits.came(10.03, waiting=False)
    assert waits.wait_s == SHORT
