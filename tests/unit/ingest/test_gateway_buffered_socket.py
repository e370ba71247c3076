"""The buffered socket passes every byte on, in order, in any sizes of pieces."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.buffered_socket import BufferedSocket

# each example empties the pair that it fills
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def pair() -> Iterator[tuple[BufferedSocket, socket.socket]]:
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    yield BufferedSocket(near), far
    near.close()
    far.close()


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=20), st.integers(1, 700))
@SHARED
def test_bytes_are_received_in_order_whatever_is_asked_for(
    pair: tuple[BufferedSocket, socket.socket], pieces: list[bytes], size: int
) -> None:
    link, far = pair
    received = b""
    for piece in pieces:
        far.sendall(piece)
        received += link.recv(size)
    while link.pending():
        data = link.recv(size)
        assert 1 <= len(data) <= size
        received += data
    while len(received) < sum(map(len, pieces)):
        received += link.recv(size)
    assert received == b"".join(pieces)
    with pytest.raises(BlockingIOError):
        link.recv(1)


def test_what_the_socket_does_not_take_now_is_sent_later(
    pair: tuple[BufferedSocket, socket.socket],
) -> None:
    link, far = pair
    sent = bytes(range(256)) * 20_000
    assert link.send(sent) == len(sent)
    assert not link.flush()
    received = b""
    while len(received) < len(sent):
        received += far.recv(1 << 20)
        link.flush()
    assert received == sent
    assert link.flush()


def test_the_end_of_the_connection_is_seen(pair: tuple[BufferedSocket, socket.socket]) -> None:
    link, far = pair
    far.sendall(b"last")
    far.close()
    assert link.recv(10) == b"last"
    assert link.recv(10) == b""
