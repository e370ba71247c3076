"""The newest version of each key stays, whatever comes when; what has ended goes after a while."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from feeds.live.item import Item
from feeds.live.state import LiveState, Retention


def item(
    identity: str, *order: int, topic: str = "cases", closed: bool = False, data: bytes = b"{}"
) -> Item:
    return Item(topic, identity, data, order, "north", closed=closed)


@given(st.permutations(range(6)), st.lists(st.integers(0, 5), max_size=6))
def test_the_newest_version_stays_in_whatever_order_versions_come(
    order: list[int], again: list[int]
) -> None:
    state = LiveState()
    state.apply([item("c", version) for version in [*order, *again]], 0)
    assert [i.order for i in state.items()] == [(5,)]
    assert [i.order for i in state.take_changes(0)] == [(5,)]
    assert state.take_changes(0) == []


def test_a_provisional_window_never_replaces_the_final_one_or_a_later_one() -> None:
    state = LiveState()
    window, final, computed = 60_000, 1, 99

    def segment(start: int, is_final: int, at: int) -> Item:
        return item("s", start, is_final, at, topic="segments")

    assert state.apply([segment(window, final, computed)], 0) == 1
    assert state.apply([segment(window, 0, computed + 50)], 0) == 0
    assert state.apply([segment(0, final, computed + 60)], 0) == 0
    assert state.apply([segment(window + 60_000, 0, computed + 70)], 0) == 1


def test_the_closed_stay_for_a_while_and_then_go() -> None:
    state = LiveState(Retention(closed_ms=5_000))
    state.apply([item("c", 1), item("d", 1)], 0)
    state.apply([item("c", 2, closed=True)], 1_000)
    state.take_changes(1_000)
    assert state.take_changes(5_999) == []
    (left,) = state.take_changes(6_000)
    assert left.gone
    assert left.data == b'{"id":"c","gone":true}'
    assert [i.id for i in state.items()] == ["d"]


def test_what_has_gone_does_not_come_back_by_an_old_version() -> None:
    state = LiveState(Retention(closed_ms=0))
    state.apply([item("c", 7, closed=True)], 0)
    state.take_changes(0)
    assert state.apply([item("c", 6)], 1) == 0
    assert state.apply([item("c", 8)], 1) == 1
    assert len(state) == 1


def test_what_was_closed_and_opened_again_stays() -> None:
    state = LiveState(Retention(closed_ms=1_000))
    state.apply([item("c", 1, closed=True)], 0)
    state.apply([item("c", 2)], 500)
    state.take_changes(10_000)
    assert [i.order for i in state.items()] == [(2,)]


def test_stages_that_stopped_are_left_out_after_a_while() -> None:
    state = LiveState(Retention(silent_ms=(("ledger", 1_000),)))
    state.apply([item("sink/a/1", 1, topic="ledger"), item("sink/b/1", 1, topic="ledger")], 0)
    state.apply([item("sink/b/1", 2, topic="ledger")], 900)
    state.take_changes(900)
    assert [(i.id, i.gone) for i in state.take_changes(1_000)] == [("sink/a/1", True)]


def test_a_full_topic_refuses_new_keys_and_counts_them() -> None:
    state = LiveState(Retention(max_items=2))
    state.apply([item("a", 1), item("b", 1), item("c", 1), item("a", 2)], 0)
    assert sorted((i.id, i.order) for i in state.items()) == [("a", (2,)), ("b", (1,))]
    assert state.refused == 1
