"""A dead letter keeps what helps, and nothing of a person."""

from __future__ import annotations

import time

import pytest

from civicstream.events import DeadLetter
from civicstream.kafka.dead_letter import (
    Origin,
    dead_letter_id,
    dead_letter_record,
    make_dead_letter,
)

HERE = Origin("city.cases", 0, 7)


def made(payload: bytes = b"{}", detail: str = "sentence") -> DeadLetter:
    return make_dead_letter("deliver", "d", HERE, payload, "refused", detail, at_ms=1)


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (
            "SMTP 450 4.2.0 <ada.lovelace@example.org>: Recipient address rejected: Greylisted",
            "SMTP 450 4.2.0 <<address>>: Recipient address rejected: Greylisted",
        ),
        ("550 Ada.Lovelace@Example.org user unknown", "550 <address> user unknown"),
        ("no answer of +49 170 1234567", "no answer of <address>"),
        ("ts 1795946822 looks like seconds", "ts 1795946822 looks like seconds"),
    ],
)
def test_a_servers_words_name_no_person(words: str, kept: str) -> None:
    assert made(detail=words).detail == kept


def test_looking_for_addresses_takes_no_time_whatever_the_text() -> None:
    began = time.perf_counter()
    for text in ("a" * 1_000_000, "@" * 1_000_000, "+" + "1" * 1_000_000, "a@" * 500_000):
        made(detail=text)
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize("key", [b"email", b"phone"])
def test_a_payload_with_personal_data_is_withheld_and_its_size_kept(key: bytes) -> None:
    payload = b'{"' + key + b'": "x", "LAeq": 60}'
    dead_letter = made(payload)
    assert dead_letter.payload == b""
    assert dead_letter.payload_bytes == len(payload)
    assert "withheld" in dead_letter.detail


def test_a_large_payload_is_cut_and_its_size_kept() -> None:
    dead_letter = made(b"x" * 300_000)
    assert (len(dead_letter.payload), dead_letter.payload_bytes) == (4096, 300_000)


def test_written_again_by_another_process_it_is_the_same_letter() -> None:
    one = make_dead_letter("sink", "sink-1", HERE, b"x", "refused", "why", at_ms=1)
    two = make_dead_letter("sink", "sink-2", HERE, b"x", "refused", "why", at_ms=9)
    assert dead_letter_id(one) == dead_letter_id(two) == "city.cases/0/7"
    ids = [
        {name: value for name, value in dead_letter_record(x, "sink").headers if name in _IDENTITY}
        for x in (one, two)
    ]
    assert ids[0] == ids[1]


_IDENTITY = ("ce_source", "ce_id")
