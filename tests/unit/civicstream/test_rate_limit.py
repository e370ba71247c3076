"""A client's bucket: a burst at once, then the long-run rate, whatever the others do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from civicstream.rate_limit import RateLimit


def test_after_the_burst_the_long_run_rate_holds() -> None:
    limit = RateLimit(per_s=0.1, burst=5)
    admitted = [t for t in range(200) if limit.admit("a", str(t), float(t))]
    assert admitted[:5] == [0, 1, 2, 3, 4]
    assert len(admitted) == 5 + 19  # one every 10 s since the first


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 30)), max_size=80),
    st.integers(1, 10),
)
def test_no_client_ever_gets_more_than_burst_and_rate(
    asked: list[tuple[str, float]], burst: int
) -> None:
    limit, now = RateLimit(per_s=0.1, burst=burst), 0.0
    got = {"a": 0, "b": 0}
    for number, (client, pause) in enumerate(asked):
        now += pause
        got[client] += limit.admit(client, str(number), now)
    assert all(count <= burst + 0.1 * now + 1e-6 for count in got.values())


def test_a_client_that_waits_as_long_as_it_is_told_is_admitted() -> None:
    limit = RateLimit(per_s=0.02, burst=1)
    assert limit.admit("a", "1", 0.0)
    assert not limit.admit("a", "2", 10.0)
    wait_s = limit.wait_s("a")
    assert not limit.admit("a", "2", 10.0 + wait_s - 1)
    assert limit.admit("a", "2", 10.0 + wait_s + 0.001)


def test_memory_is_bounded_and_the_client_not_heard_of_for_longest_is_forgotten() -> None:
    limit = RateLimit(per_s=0.001, burst=1, max_clients=3)
    for client in "abc":
        limit.admit(client, "1", 0.0)
    assert not limit.admit("a", "2", 1.0)
    limit.admit("d", "1", 2.0)  # pushes b out
    assert not limit.admit("a", "3", 3.0)
    assert limit.admit("b", "2", 3.0)
