"""The truth of a run: every reading that was published, which fault it has, whether it was acked.

A folder with ``<kind>.arrow`` (Arrow IPC streams, one row per reading and publication),
``counts.json``, and what happened (``truth_events``). Rows go to disk as soon as their messages
are settled, so a run of any length needs the memory of its last seconds only.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from civicstream.city import City, Sensors
from civicstream.errors import ConfigurationError
from civicstream.frames import arrow_schema
from sensors_sim.incidents import Incident
from sensors_sim.messages import FAULTS, MALFORMATIONS, Block, Messages, fault_code
from sensors_sim.sensor_faults import BrokenSensor
from sensors_sim.truth_events import EVENT_FILES, EventTruth

__all__ = ["ACKED", "REFUSED", "SENT", "Outgoing", "Truth", "truth_schema"]

SENT, ACKED, REFUSED = 1, 2, 3
"""State of a message; 0 is not published yet. REFUSED: the broker's ack said it failed."""

_MILLISECONDS = pa.timestamp("ms", tz="UTC")


class Outgoing:
    """A block on its way: its messages in order of publication and what became of each."""

    __slots__ = ("block", "due", "group", "message", "resent", "sent_at", "state", "unsettled")

    def __init__(self, block: Block) -> None:
        self.block = block
        self.due, self.group, self.message = block.order()
        n = len(self.due)
        self.state = bytearray(n)
        self.resent = bytearray(n)
        self.sent_at = np.zeros(n, np.int64)
        self.unsettled = n

    def settle(self, position: int, state: int) -> None:
        """Record the broker's answer."""
        self.state[position] = state
        self.unsettled -= 1


def truth_schema(kind: str) -> pa.Schema:
    """Return the schema of ``<kind>.arrow``: a frame's columns, then what the test should know."""
    schema = arrow_schema(kind)
    for field in (
        pa.field("fault", pa.dictionary(pa.int8(), pa.utf8()), nullable=False),
        pa.field("acked", pa.bool_(), nullable=False),
        pa.field("resent", pa.bool_(), nullable=False),
        pa.field("sent_at", _MILLISECONDS, nullable=False),
    ):
        schema = schema.append(field)
    return schema


class Truth:
    """Counts what was published and, given a folder, writes it down.

    Without ``readings`` only what happened and the counts are: a run without end would fill the
    disk.
    """

    def __init__(self, city: City, folder: Path | None, *, readings: bool = True) -> None:
        self._city = city
        self._folder = folder
        self._keeps_readings = readings and folder is not None
        self._open: deque[Outgoing] = deque()
        self._files: dict[str, _KindFile] = {}
        self._totals: Counter[str] = Counter()
        self._kinds: dict[str, Counter[str]] = {}
        self._malformations: Counter[str] = Counter()
        if folder:
            _prepare(folder)
        self._events = EventTruth(city, folder) if folder else None

    def happened(self, start_ms: int, end_ms: int, incidents: list[Incident]) -> None:
        """Note the incidents begun so far; event time has gone from ``start_ms`` to ``end_ms``."""
        if self._events:
            self._events.happened(start_ms, end_ms, incidents)

    def breaks(self, broken: Sequence[BrokenSensor]) -> None:
        """Note which sensors break in the course of the run."""
        if self._events:
            self._events.breaks(broken)

    def begin(self, block: Block) -> Outgoing:
        """Take a block in; its rows are written when all its messages are settled."""
        outgoing = Outgoing(block)
        self._open.append(outgoing)
        self._totals["dropped"] += block.dropped
        return outgoing

    def write_settled(self) -> None:
        """Write and forget the blocks whose messages are all settled."""
        while self._open and not self._open[0].unsettled:
            self._write(self._open.popleft())

    def close(self, about: dict[str, Any]) -> dict[str, Any]:
        """Write everything that was published, settled or not; return the counts."""
        while self._open:
            self._write(self._open.popleft())
        for file in self._files.values():
            file.close()
        counts = self._counts() | about
        if self._folder:
            encoded = msgspec.json.format(msgspec.json.encode(counts))
            (self._folder / "counts.json").write_bytes(encoded)
        return counts

    def _counts(self) -> dict[str, Any]:
        names = ("published", "acked", "messages", "messages_acked", "resent", "refused", "dropped")
        return {name: self._totals[name] for name in names} | {
            "faults": {f: sum(c[f"fault {f}"] for c in self._kinds.values()) for f in FAULTS if f},
            "malformed_messages": {m: self._malformations[m] for m in MALFORMATIONS},
            "kinds": {
                kind: {"published": c["published"], "acked": c["acked"]}
                | {"faults": {f: c[f"fault {f}"] for f in FAULTS if f}}
                for kind, c in self._kinds.items()
            },
        }

    def _write(self, outgoing: Outgoing) -> None:
        states = np.frombuffer(outgoing.state, np.uint8)
        resent = np.frombuffer(outgoing.resent, np.uint8).astype(np.bool_)
        for number, messages in enumerate(outgoing.block.groups):
            at = np.flatnonzero((outgoing.group == number) & (states >= SENT))
            if len(at):
                sent = messages.take(outgoing.message[at])
                self._count(sent, states[at], resent[at])
                if self._keeps_readings:
                    self._file(sent.kind.name).write(
                        sent, states[at] == ACKED, resent[at], outgoing.sent_at[at]
                    )

    def _count(self, sent: Messages, states: NDArray[np.uint8], resent: NDArray[np.bool_]) -> None:
        acked, batch = int(np.count_nonzero(states == ACKED)), sent.batch
        self._totals["messages"] += len(sent)
        self._totals["messages_acked"] += acked
        self._totals["resent"] += int(resent.sum())
        self._totals["refused"] += int(np.count_nonzero(states == REFUSED))
        of_kind = self._kinds.setdefault(sent.kind.name, Counter())
        for counter in (self._totals, of_kind):
            counter["published"] += len(sent) * batch
            counter["acked"] += acked * batch
        for name, n in zip(FAULTS, np.bincount(sent.reading_faults().ravel()), strict=False):
            of_kind[f"fault {name}"] += int(n)
        broken = sent.malformation[sent.fault == fault_code("malformed")]
        for name, n in zip(MALFORMATIONS, np.bincount(broken), strict=False):
            self._malformations[name] += int(n)

    def _file(self, kind: str) -> _KindFile:
        if kind not in self._files:
            assert self._folder is not None  # noqa: S101 only called with a folder
            self._files[kind] = _KindFile(self._folder / f"{kind}.arrow", kind, self._city)
        return self._files[kind]


class _KindFile:
    """The Arrow IPC stream of one kind."""

    def __init__(self, path: Path, kind: str, city: City) -> None:
        sensors = city.sensors
        self._city = city
        self._of_kind = np.flatnonzero(sensors.kind == Sensors.kind_names.index(kind))
        self._names = pa.array([sensors.ids[i] for i in self._of_kind.tolist()], pa.utf8())
        self._areas = pa.array([area.id for area in city.areas], pa.utf8())
        self._faults = pa.array(FAULTS, pa.utf8())
        self._schema = truth_schema(kind)
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_stream(self._sink, self._schema)

    def write(
        self,
        sent: Messages,
        acked: NDArray[np.bool_],
        resent: NDArray[np.bool_],
        sent_at: NDArray[np.int64],
    ) -> None:
        b = sent.batch
        sensor = np.repeat(sent.sensor, b)
        encoded = pa.DictionaryArray.from_arrays
        codes = np.searchsorted(self._of_kind, sensor).astype(np.int32)
        columns = [
            pa.array(self._city.sensor_keys[sensor]),
            encoded(pa.array(codes), self._names),
            encoded(pa.array(self._city.sensors.area[sensor]), self._areas),
            pa.array(sent.ts.reshape(-1)).view(_MILLISECONDS),
            *(pa.array(measure.reshape(-1)) for measure in sent.measures),
            encoded(pa.array(sent.reading_faults().reshape(-1)), self._faults),
            pa.array(np.repeat(acked, b)),
            pa.array(np.repeat(resent, b)),
            pa.array(np.repeat(sent_at, b)).view(_MILLISECONDS),
        ]
        self._writer.write_batch(pa.record_batch(columns, schema=self._schema))

    def close(self) -> None:
        self._writer.close()
        self._sink.close()


def _prepare(folder: Path) -> None:
    """Make the folder; what an earlier run left in it would be taken for this run's truth."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (*EVENT_FILES, "counts.json", *(f"{k}.arrow" for k in Sensors.kind_names)):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(f"--truth {folder}: {error.strerror}") from error
