"""The bench's clients count every update, and notice what they were not told."""

from __future__ import annotations

import json

import pytest

from benchmarks.live_audience import Expected, Listener, Tally, parse_event

EXPECTED = Expected(keys=2, updates=6, rate=10.0)
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def event(name: str, seq: int, *units: tuple[int, int, int], since: int | None = None) -> bytes:
    items = [{"id": str(key), "load": float(version), "at": at} for key, version, at in units]
    data = {"seq": seq, "at": 0, ("state" if name == "snapshot" else "changes"): {"units": items}}
    if since is not None:
        data["from"] = since
    return f"id: x-{seq}\nevent: {name}\ndata: {json.dumps(data)}\n\n".encode()


def chunked(*events: bytes) -> bytes:
    return HEAD + b"".join(b"%x\r\n%s\r\n" % (len(e), e) for e in events)


def heard(*events: bytes, cut: int = 10_000) -> tuple[Listener, Tally]:
    """Return a listener after it got the events in pieces of ``cut`` bytes."""
    tally = Tally(EXPECTED)
    listener = Listener(tally, b"")
    sent = chunked(b"retry: 2000\n\n", *events)
    for start in range(0, len(sent), cut):
        listener.data_received(sent[start : start + cut])
    return listener, tally


@pytest.mark.parametrize("cut", [1, 7, 10_000])
def test_a_client_with_every_update_misses_none_however_the_bytes_come(cut: int) -> None:
    listener, tally = heard(
        event("snapshot", 0),
        event("delta", 1, (0, 0, 100), (1, 0, 200)),
        event("heartbeat", 1),
        event("delta", 2, (0, 1, 300), (1, 1, 400)),
        event("delta", 3, (0, 2, 500), (1, 2, 600)),
        cut=cut,
    )
    assert (listener.missing, listener.holes, listener.unsent()) == (0, 0, [])
    assert sum(tally.delays) == EXPECTED.updates


def test_conflation_tells_of_the_versions_it_spares() -> None:
    listener, tally = heard(
        event("snapshot", 0),
        event("delta", 1, (0, 0, 100)),
        event("conflated", 5, (0, 2, 500), (1, 2, 600), since=1),
    )
    assert (listener.missing, listener.holes, tally.conflated) == (0, 0, 1)
    assert sum(tally.delays) == EXPECTED.updates


def test_a_missing_number_is_a_hole_and_a_missing_version_is_untold() -> None:
    listener, _ = heard(
        event("snapshot", 0), event("delta", 2, (0, 2, 500)), event("delta", 3, (1, 1, 600))
    )
    assert listener.holes == 1
    assert listener.missing == 1
    assert listener.unsent() == [(1, 2)]


def test_times_of_updates_that_never_came_follow_from_those_that_did() -> None:
    _, tally = heard(event("snapshot", 0), event("delta", 1, (1, 1, 10_300)))
    assert tally.began == 10_000
    assert tally.published(1, 2) == 10_500


def test_naive_events_are_units_alone() -> None:
    told = parse_event(b'data: {"id": "3", "load": 2.0, "at": 7}')
    assert told is not None
    assert (told.name, told.versions) == ("update", [(3, 2, 7)])
    assert parse_event(b"retry: 2000") is None
