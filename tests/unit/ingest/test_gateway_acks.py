"""Acknowledgements: in receipt order, each once, and never before Kafka has all of a message."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingest.acks import NO_ACK, AckWindow


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """How many records hold each message, and an order in which the records are confirmed."""
    holders = draw(st.lists(st.integers(1, 4), max_size=40))
    records = [message for message, count in enumerate(holders) for _ in range(count)]
    return holders, draw(st.permutations(records))


@given(histories())
def test_messages_are_acknowledged_in_receipt_order_and_only_when_wholly_confirmed(
    history: tuple[list[int], list[int]],
) -> None:
    holders, order = history
    window = AckWindow()
    receipts = [window.receive(100 + i, count) for i, count in enumerate(holders)]
    left = list(holders)
    acked: list[int] = []
    for message in order:
        left[message] -= 1
        acked += window.confirm([receipts[message]])
        finished = next((i for i, n in enumerate(left) if n), len(left))
        assert acked == [100 + i for i in range(finished)]
        assert len(window) == len(holders) - finished


def test_qos_0_needs_no_acknowledgement_but_counts_as_in_flight() -> None:
    window = AckWindow()
    first, second = window.receive(NO_ACK), window.receive(7)
    assert len(window) == 2
    assert window.confirm([first]) == []
    assert window.confirm([second]) == [7]


def test_packet_ids_of_a_lost_connection_are_never_acknowledged_on_the_next() -> None:
    window = AckWindow()
    old = [window.receive(1), window.receive(2)]
    window.forget_packet_ids()
    again = [window.receive(1), window.receive(2)]
    assert window.confirm([again[0]]) == []  # the old ones came first
    assert window.confirm(old) == [1]  # the new 1, not the old
    assert window.confirm([again[1]]) == [2]
    assert len(window) == 0
