"""What a partition of frames commits, in which order, and how much of it may wait."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np

from civicstream import frames
from civicstream.city import City
from civicstream.frames import FrameHeaders
from civicstream.kinds import KINDS
from civicstream.settings import KafkaSettings
from streams.frames.frame_stream import FrameGauges, FrameStream
from streams.frames.results import Calculation
from streams.runtime.records import Record
from streams.runtime.task_state import Input, TaskState
from streams.windows.traffic import SegmentTable
from streams.windows.windows import PartitionWindows, Progress, WindowConfig
from tests.kit.frame_making import make_frame

SIZE = 1_000
T0 = 1_000_000 * SIZE
TOPIC = "city.frames.noise"


class State(TaskState):
    """Remembers what is committed; stands in for Kafka, which may take its time."""

    def __init__(self) -> None:
        super().__init__(KafkaSettings(), "frames", 0)
        self.begin_inputs({TOPIC: Input(0, 0, "id")}, [])
        self.commits: list[tuple[Sequence[Record], Progress, Input]] = []
        self.open = asyncio.Event()

    async def commit(
        self,
        records: Sequence[Record],
        items: Mapping[str, bytes | None] | None = None,
        inputs: Mapping[str, Input] | None = None,
    ) -> None:
        await self.open.wait()
        progress = msgspec.msgpack.decode((items or {})["noise/progress"] or b"", type=Progress)
        self.commits.append((list(records), progress, (inputs or {})[TOPIC]))


def begun(state: State, executor: ThreadPoolExecutor) -> FrameStream:
    windows = PartitionWindows(WindowConfig(SIZE, 0, 0, 10 * SIZE), Progress())
    kind = KINDS["noise"]

    def fail(error: BaseException) -> None:
        raise error

    return FrameStream(
        kind=kind,
        topic=TOPIC,
        windows=windows,
        calculation=Calculation(kind, windows.areas, SegmentTable(City())),
        sensors=None,
        feeds_network=False,
        state=state,
        executor=executor,
        gauges=FrameGauges(),
        failed=fail,
    )


def add(stream: FrameStream, offset: int, at: int, sensors: int = 1) -> None:
    rng = np.random.default_rng(offset)
    rows = [("north", f"s{i}", at, {"LAeq": float(rng.random())}) for i in range(sensors)]
    stream.add(offset, make_frame("noise", rows), FrameHeaders("g", 1, offset, sensors, at))


async def until(condition, stream: FrameStream) -> None:  # type: ignore[no-untyped-def]
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.05)
            stream.advance()


def test_a_late_reading_is_committed_with_or_after_the_closing_that_made_it_late() -> None:
    async def run(executor: ThreadPoolExecutor) -> State:
        state = State()
        stream = begun(state, executor)
        add(stream, 0, T0)
        add(stream, 1, T0 + 2 * SIZE)  # closes the first window
        await asyncio.sleep(0.1)
        add(stream, 2, T0 + 1)  # late, while that closing waits for Kafka
        state.open.set()
        await until(lambda: len(state.commits) == 2, stream)
        return state

    with ThreadPoolExecutor(1) as executor:
        closing, late = asyncio.run(run(executor)).commits
    assert [record.topic for record in closing[0]] == ["results.environment"]
    assert (closing[1].closed_until, closing[1].next_offset, closing[1].late) == (
        T0 + 2 * SIZE,
        2,
        0,
    )
    assert closing[2] == Input(1, 2, "id"), "the second frame's window is open"
    assert [record.topic for record in late[0]] == ["late"]
    assert (late[1].closed_until, late[1].next_offset, late[1].late) == (T0 + 2 * SIZE, 3, 1)
    assert late[2] == Input(1, 3, "id")


def test_a_flood_of_late_readings_is_held_back_and_none_is_lost() -> None:
    async def run(executor: ThreadPoolExecutor) -> tuple[State, int, int]:
        state = State()
        stream = begun(state, executor)
        state.open.set()
        add(stream, 0, T0 + 100 * SIZE)
        await until(lambda: len(state.commits) == 1, stream)
        state.open.clear()
        offset = 1
        while not stream.is_full:
            add(stream, offset, T0, sensors=2_000)
            offset += 1
            await asyncio.sleep(0)
            assert offset < 5_000, "nothing holds the flood back"
        held = offset
        state.open.set()
        await until(lambda: state.commits[-1][1].next_offset == held, stream)
        assert not stream.is_full
        return state, held, stream.windows.late_readings

    with ThreadPoolExecutor(1) as executor:
        state, held, late = asyncio.run(run(executor))
    records = [r for found, _, _ in state.commits for r in found if r.topic == "late"]
    assert len(records) == held - 1
    assert sum(len(frames.decode(r.value, "noise")) for r in records) == late
    assert state.commits[-1][1].late == late
