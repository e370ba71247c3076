"""Messages that nobody should send, drawn from a Random: one generator for tests and the fuzzer."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from civicstream.kinds import KINDS
from civicstream.settings import GatewaySettings, KafkaSettings, PrivacySettings, Settings
from ingest.intake import Intake
from ingest.lanes import SealedFrame
from tests.kit.privacy_keys import PSEUDONYM_KEY, PUBLIC_KEY

__all__ = ["NOW", "HostileIntake", "hostile_message", "odd_text"]

NOW = 1_795_282_800_000

_NUMBERS = (
    "1" + "0" * 400,
    "-1" + "0" * 400,
    "9" * 4300,
    "9" * 4301,
    "9" * 9000,
    str(2**63),
    str(2**63 - 1),
    str(-(2**63) - 1),
    str(2**64),
    str(10**30),
    str(2**31),
    "1e400",
    "-1e400",
    "1e308",
    "-1.7976931348623157e308",
    "5e-324",
    "-0",
    "-0.0",
    "0",
    "0.1",
    "NaN",
    "Infinity",
    "-Infinity",
    "1e1000000",
    "0e0",
    "00",
    "1.",
    ".5",
    "+1",
    "0x10",
    "-",
    "253402300799999",
    "253402300800000",
    "-62135596800001",
    "1795282800000.5",
    "1e18",
)
_STRINGS = (
    r'"\ud800"',
    r'"\udfff"',
    r'"\udc00\ud800"',
    r'"\ud83d"',
    r'"a\ud800b"',
    r'"\ud83d\ude00"',
    r'"\u0000"',
    '"\0"',
    r'"a\u0000b"',
    r'"\u202e"',
    '"\x1f"',
    '"\x7f"',
    '"é"',
    '"e\u0301"',
    '""',
    '" "',
    '"1795282800000"',
    '"-1"',
    '"nan"',
    '"\ufeff"',
    '"\u2028"',
    r'"\q"',
    '"unterm',
    '"9999-12-31T23:59:59.999999-23:59"',
    '"0001-01-01T00:00:00+23:59"',
    '"2026-02-30T00:00Z"',
    '"2026-11-21T17:40:60Z"',
    '"2026-11-21T17:40:00+24:00"',
    '"2026-11-21"',
    '"T"',
    '"-0"',
    '"0000-00-00T00:00:00Z"',
    '"2026-11-21T17:40:00.999999999999999999Z"',
    '"allocation/"',
    '"case/"',
    '"case/' + "x" * 300 + '"',
    '"http://["',
    '"https://a:b@c"',
    '"x@y.z"',
)
_OTHERS = ("null", "true", "false", "{}", "[]", "[[]]", '{"":null}', "[null]", "tru", "", ",", "]")
_TIMES = (str(NOW), str(NOW - 1000), str(NOW // 1000), '"2026-11-21T17:39:00Z"', str(NOW - 10**10))
_KEYS = (
    "ts",
    "sensor",
    "v",
    "bv",
    "n",
    "bn",
    "t",
    "bt",
    "u",
    "bu",
    "bver",
    "vs",
    "must_",
    "s",
    "unit",
    "task",
    "note",
    "skills",
    "shift_end",
    "reference",
    "attributes",
    "lon",
    "lat",
    r"\ud800",
    r"\u0000",
    "",
    "x" * 300,
    "__class__",
    "kind",
)
_NAMES = ("A7", "north", "a" * 200, "b" * 201, "ä" * 101, "\0", "\u202e", "a b", "\ufffd", "$", "é")

SEAL = {"public_key": PUBLIC_KEY, "pseudonym_key": PSEUDONYM_KEY}

Members = list[tuple[str, str]]


def odd_text(rng: Random, depth: int = 0) -> str:
    """Return a piece of JSON, or of what looks like it."""
    plain = (_NUMBERS, _NUMBERS, _STRINGS, _STRINGS, _TIMES, _OTHERS)
    match rng.randrange(10):
        case 0:
            return json.dumps(
                "".join(chr(rng.randrange(0x110000)) for _ in range(rng.randrange(9)))
            )
        case 1 if depth < 3:
            return "[" + ",".join(odd_text(rng, depth + 1) for _ in range(rng.randrange(4))) + "]"
        case 2 if depth < 3:
            return _object([(rng.choice(_KEYS), odd_text(rng, depth + 1)) for _ in range(3)])
        case 3 if not rng.randrange(20):
            return _deep_or_long(rng)
    return rng.choice(rng.choice(plain))


def _deep_or_long(rng: Random) -> str:
    levels = rng.choice((50, 900, 1_100, 20_000))
    kind = rng.randrange(4)
    if kind == 0:
        return "[" * levels + "]" * levels
    if kind == 1:
        return '{"a":' * levels + "1" + "}" * levels
    if kind == 2:
        return "[" * levels
    return json.dumps(rng.choice("xé\0@1a.") * rng.choice((5_000, 30_000)))


def _object(members: Members) -> str:
    return "{" + ",".join(f'"{key}":{value}' for key, value in members) + "}"


def _reading(rng: Random) -> tuple[str, Members]:
    kind = rng.choice(list(KINDS.values()))
    low = {m.name: m.minimum + (m.maximum - m.minimum) * rng.random() for m in kind.measures}
    values = [(m.name, str(int(low[m.name]) if m.integer else low[m.name])) for m in kind.measures]
    return kind.name, [("ts", str(NOW - rng.randrange(10**6))), *values]


def _senml(rng: Random) -> tuple[str, list[Members]]:
    kind = rng.choice(list(KINDS.values()))
    units = ("Cel", "K", "Pa", "%", "%RH", "m/s", "count", "s", "W", "kg/m3", "km/h", "dB")
    records: list[Members] = []
    for measure in kind.measures:
        records.append([("n", json.dumps(measure.name)), ("v", str(rng.choice((1, 20, 0.5))))])
        for name, value in (
            ("u", json.dumps(rng.choice(units))),
            ("t", rng.choice(("-5", str(NOW / 1000)))),
            ("bv", str(rng.random())),
            ("bt", str(NOW / 1000)),
            ("bn", '"A7:"'),
        ):
            if not rng.randrange(4):
                records[-1].append((name, value))
    return kind.name, records


def _report(_rng: Random) -> Members:
    return [
        ("reference", '"r-1"'),
        ("service", '"pothole"'),
        ("ts", str(NOW - 1000)),
        ("lon", "13.4"),
        ("lat", "52.5"),
        ("description", '"hole"'),
        ("attributes", "{}"),
        ("name", '"Ada"'),
        ("email", '"a@example.org"'),
        ("phone", '"+49301234567"'),
        ("address_string", '"Street 1"'),
        ("address_id", '"1"'),
        ("media_url", '"https://a/b"'),
    ]


def _unit(rng: Random) -> Members:
    if rng.randrange(2):
        return [
            ("ts", str(NOW)),
            ("action", '"done"'),
            ("task", '"case/7"'),
            ("note", '"ok"'),
        ]
    return [
        ("ts", str(NOW)),
        ("state", '"available"'),
        ("lon", "13.4"),
        ("lat", "52.5"),
        ("skills", '["tow"]'),
        ("shift_end", str(NOW + 10**7)),
        ("capacity", "1"),
        ("load", "0"),
    ]


def _spoil(rng: Random, members: Members) -> str:
    """Return the object with some of its members changed, doubled, left out or added."""
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        at = rng.randrange(len(members) + 1)
        what = rng.randrange(6)
        if what == 0 or at == len(members):
            members.insert(at, (rng.choice(_KEYS), odd_text(rng)))
        elif what == 1:
            del members[at]
        elif what == 2:
            members.append((members[at][0], odd_text(rng)))
        else:
            members[at] = (members[at][0], odd_text(rng))
    return _object(members)


def _broken_bytes(rng: Random, payload: bytes) -> bytes:
    at = rng.randrange(len(payload) + 1)
    match rng.randrange(4):
        case 0:
            return payload[:at]
        case 1:
            return payload[:at] + rng.randbytes(rng.randrange(1, 4)) + payload[at:]
        case 2:
            return payload[:at] + bytes([rng.randrange(256)]) + payload[at + 1 :]
    return rng.randbytes(rng.randrange(40))


def hostile_message(rng: Random) -> tuple[str, bytes]:
    """Return an MQTT topic and a payload, of any kind of message that a gateway takes."""
    form = rng.randrange(5)
    if form == 0:
        kind, members = _reading(rng)
        text = _spoil(rng, members)
    elif form == 1:
        kind, first = _reading(rng)
        parts = [_spoil(rng, list(first)) for _ in range(rng.randrange(4))]
        text = "[" + ",".join(parts) + "]"
    elif form == 2:
        kind, records = _senml(rng)
        text = "[" + ",".join(_spoil(rng, record) for record in records) + "]"
    elif form == 3:
        kind, text = "report", _spoil(rng, _report(rng))
    else:
        kind, text = "unit", _spoil(rng, _unit(rng))
    if not rng.randrange(12):
        text = odd_text(rng)
    payload = text.encode("utf-8", "surrogatepass")
    if not rng.randrange(8):
        payload = _broken_bytes(rng, payload)
    area, sensor = "north", "A7"
    if not rng.randrange(8):
        area, sensor = rng.choice(_NAMES), rng.choice(_NAMES)
    return f"city/v1/{kind}/{area}/{sensor}", payload


class HostileIntake:
    """A gateway's intake, given anything: it must neither raise nor lose count."""

    def __init__(self) -> None:
        settings = Settings(
            gateway=GatewaySettings(id="g1", max_frame_readings=200),
            kafka=KafkaSettings(partitions=4),
            privacy=PrivacySettings.model_validate(SEAL),
        )
        self.intake = Intake(settings, 99)
        self.reasons: dict[str, int] = {}
        """Dead letters by reason."""
        self.taken = 0
        """Frames and events."""
        self._given = 0

    def give(self, topic: str, payload: bytes) -> None:
        self._given += 1  # a minute each: no rate limit hides what comes behind it
        self.intake.receive(
            topic, payload, self._given % 65_535 + 1, now_ms=NOW, now=60.0 * self._given
        )
        if not self._given % 100:
            self.settle()

    def check_guard(self) -> None:
        """Raise AssertionError for a message that only the guard has stopped."""
        for pending in self.intake.dead_letters:
            letter = pending.dead_letter
            assert letter.reason != "internal_error", letter.detail

    def settle(self) -> None:
        """Let Kafka confirm everything; every message must be acknowledged by then."""
        intake = self.intake
        intake.lanes.seal_due(0.0, NOW, everything=True)
        while intake.lanes.ready or intake.dead_letters or intake.events:
            while intake.lanes.ready:
                frame: SealedFrame = intake.lanes.ready.popleft()
                self.taken += 1
                intake.frame_confirmed(frame)
            while intake.dead_letters:
                self._check_letter(intake.dead_letters.popleft())
            while intake.events:
                event = intake.events.popleft()
                json.loads(event.event.value)
                self.taken += 1
                intake.event_confirmed(event)
        assert (len(intake.acks), intake.in_flight_bytes) == (0, 0)
        counts = intake.ledger.report(NOW).kinds.values()
        assert all(c.imbalance == 0 and c.in_flight == 0 for c in counts)

    def _check_letter(self, pending: Any) -> None:
        letter = pending.dead_letter
        letter.topic.encode(), letter.detail.encode()
        assert letter.detail.isprintable(), letter.detail
        assert len(letter.detail) < 1_000
        self.reasons[letter.reason] = self.reasons.get(letter.reason, 0) + 1
        self.intake.dead_letter_confirmed(pending)
