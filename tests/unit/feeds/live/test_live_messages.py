"""A message is encoded once, and reads the same over each way out."""

from __future__ import annotations

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.live.item import Item
from feeds.live.message import GZIP_HEADER, Message, changes_json, deflated
from feeds.live.streams import accepts_gzip


def message(seq: int = 3, data: bytes = b'{"seq":3,"at":7,"changes":{}}') -> Message:
    return Message("delta", "9f.1", seq, 7, data)


def test_an_event_names_its_id_its_name_and_its_data_on_one_line_each() -> None:
    assert message().sse == (b'id: 9f.1-3\nevent: delta\ndata: {"seq":3,"at":7,"changes":{}}\n\n')


def test_a_websocket_message_is_the_same_object_with_event_and_id() -> None:
    told = json.loads(message().text)
    assert (told.pop("event"), told.pop("id")) == ("delta", "9f.1-3")
    assert told == json.loads(message().data)


@given(st.lists(st.binary(min_size=1, max_size=500), min_size=1, max_size=8), st.randoms())
def test_pieces_make_a_gzip_stream_in_any_order_and_each_is_readable_at_once(
    parts: list[bytes], order: object
) -> None:
    pieces = [deflated(part) for part in parts]
    order.shuffle(chosen := list(range(len(parts))))  # type: ignore[attr-defined]
    reader = zlib.decompressobj(zlib.MAX_WBITS | 16)
    assert reader.decompress(GZIP_HEADER) == b""
    for index in chosen:
        assert reader.decompress(pieces[index]) == parts[index]


def test_encodings_are_made_once_for_all_clients() -> None:
    one = message()
    assert one.sse is one.sse
    assert one.deflated is one.deflated
    assert one.text is one.text


def test_changes_are_grouped_by_topic() -> None:
    items = [
        Item("units", "b", b'{"id":"b"}', (1,)),
        Item("segments", "s", b'{"id":"s"}', (1,)),
        Item("units", "a", b'{"id":"a"}', (1,)),
    ]
    assert changes_json(items) == b'{"segments":[{"id":"s"}],"units":[{"id":"b"},{"id":"a"}]}'


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip, deflate, br, zstd", True),
        ("br;q=1.0, GZIP;q=0.5", True),
        ("*", True),
        ("identity", False),
        ("gzip; q=0, deflate", False),
        ("", False),
    ],
)
def test_gzip_is_used_only_where_it_is_accepted(header: str, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted
