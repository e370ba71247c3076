"""Windows: any order, duplication and lateness of the same readings give the same result."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from civicstream.kinds import sensor_key
from streams.windows.windows import Columns, PartitionWindows, Progress, WindowClose, WindowConfig
from tests.kit.frame_making import make_frame
from tests.kit.window_oracle import Reading, windows_of

SIZE = 1000
CONFIG = WindowConfig(SIZE, lateness_ms=500, out_of_orderness_ms=200, idle_ms=2000)
T0 = 1_700_000_000_000

reading = st.tuples(
    st.sampled_from(["north", "south"]),
    st.sampled_from(["s1", "s2", "s3"]),
    st.integers(T0, T0 + 5 * SIZE),
    st.fixed_dictionaries({"LAeq": st.floats(0, 100)}),
    st.integers(1, 4),
)


def add(windows: PartitionWindows, readings: list[Reading], offset: int):  # type: ignore[no-untyped-def]
    """Add readings of one ingestion time as a frame."""
    frame = make_frame("noise", [r[:4] for r in readings])
    return windows.add(frame, readings[0][4], offset)


def contents(columns: Columns) -> dict[tuple[int, int], float]:
    pairs = zip(columns.sensor_key.tolist(), columns.ts.tolist(), strict=True)
    values = columns.measures["LAeq"].tolist()
    found = dict(zip(pairs, values, strict=True))
    assert len(found) == len(columns), "a (sensor, ts) was counted twice"
    return found


def expected(readings: list[Reading]) -> dict[int, dict[tuple[int, int], float]]:
    return {
        start: {
            (sensor_key("noise", area, sensor), ts): measures["LAeq"]
            for area, sensor, ts, measures, _ in kept.values()
        }
        for start, kept in windows_of(readings, SIZE).items()
    }


def close_all(windows: PartitionWindows) -> WindowClose:
    windows.silent_for(10**9)
    close = windows.due()
    assert close is not None
    return close


@given(st.lists(st.lists(reading, min_size=1, max_size=6), min_size=1, max_size=12), st.randoms())
def test_any_order_and_duplication_gives_the_same_windows(batches, random) -> None:  # type: ignore[no-untyped-def]
    # One ingestion time a frame, a different one for each, so that which reading wins is defined.
    batches = [[(*r[:4], i) for r in batch] for i, batch in enumerate(batches)]
    repeated = batches + random.sample(batches, len(batches) // 2)
    random.shuffle(repeated)
    patient = WindowConfig(SIZE, lateness_ms=10**6, out_of_orderness_ms=0, idle_ms=1)
    windows = PartitionWindows(patient, Progress())
    for offset, batch in enumerate(repeated):
        added = add(windows, batch, offset)
        assert added.late is None
    close = close_all(windows)
    found = {w.start: contents(Columns.joined(w.chunks).deduplicated()) for w in close.windows}
    in_batch_order = [r for batch in batches for r in batch]
    assert found == expected(in_batch_order)


@given(st.lists(st.lists(reading, min_size=1, max_size=6), min_size=1, max_size=12))
def test_every_reading_is_in_a_window_or_late_and_counted_once(batches) -> None:  # type: ignore[no-untyped-def]
    windows = PartitionWindows(CONFIG, Progress())
    late = closed = 0
    progress = Progress()
    for offset, batch in enumerate(batches):
        added = add(windows, batch, offset)
        late += len(added.late) if added.late else 0
        while close := windows.due():
            kept = sum(len(Columns.joined(w.chunks).deduplicated()) for w in close.windows)
            closed += sum(w.readings for w in close.windows)
            assert windows.counts().imbalance == 0
            progress = close.progress(progress, kept)
            windows.confirmed([close], progress)
        counts = windows.counts()
        assert counts.imbalance == 0
        assert counts.late == late
        assert counts.received == sum(len(b) for b in batches[: offset + 1])
    assert progress.accepted + progress.duplicate == closed


def test_late_reading_never_changes_a_published_window() -> None:
    windows = PartitionWindows(CONFIG, Progress())
    add(windows, [("a", "s1", T0, {"LAeq": 1.0}, 1)], 0)
    add(windows, [("a", "s1", T0 + 3 * SIZE, {"LAeq": 2.0}, 1)], 1)
    close = windows.due()
    assert close is not None
    assert [w.start for w in close.windows] == [T0]
    mixed = [("a", "s2", T0 + 1, {"LAeq": 9.0}, 1), ("a", "s2", T0 + 3 * SIZE, {"LAeq": 3.0}, 1)]
    added = add(windows, mixed, 2)  # type: ignore[arg-type]
    assert added.late is not None
    assert added.late.ts.tolist() == [T0 + 1]
    assert windows.due() is None
    assert [w.start for w in windows.open_windows] == [T0 + 3 * SIZE]
    assert windows.open_windows[0].readings == 2


def test_a_reading_within_the_allowed_lateness_still_counts() -> None:
    windows = PartitionWindows(CONFIG, Progress())
    add(windows, [("a", "s1", T0 + SIZE + 699, {"LAeq": 1.0}, 1)], 0)
    added = add(windows, [("a", "s1", T0 + 5, {"LAeq": 1.0}, 1)], 1)
    assert added.late is None
    add(windows, [("a", "s1", T0 + SIZE + 700, {"LAeq": 1.0}, 1)], 2)
    close = windows.due()
    assert close is not None
    assert close.windows[0].readings == 1


def test_silence_closes_a_window_only_as_the_clock_goes_on() -> None:
    windows = PartitionWindows(CONFIG, Progress())
    add(windows, [("a", "s1", T0 + 10, {"LAeq": 1.0}, 1)], 0)
    windows.due()
    windows.silent_for(CONFIG.idle_ms - 1)
    assert windows.due() is None, "closed before the idle time"
    windows.silent_for(1)
    assert windows.due() is not None
    patient = PartitionWindows(
        WindowConfig(60_000, lateness_ms=0, out_of_orderness_ms=0, idle_ms=2000), Progress()
    )
    start = T0 - T0 % 60_000
    add(patient, [("a", "s1", start + 10, {"LAeq": 1.0}, 1)], 0)
    patient.due()
    patient.silent_for(30_000)
    assert patient.due() is None, "closed while readings of the window may still come"
    patient.silent_for(29_990)
    close = patient.due()
    assert close is not None
    assert [w.start for w in close.windows] == [start]


frame_lists = st.lists(st.lists(reading, min_size=1, max_size=5), min_size=1, max_size=15)


@settings(max_examples=300)
@given(frame_lists, st.integers(0, 15), st.booleans())
def test_a_crash_republishes_nothing_from_a_partial_set(batches, crash_at, written) -> None:  # type: ignore[no-untyped-def]
    """Crash before frame ``crash_at``, its last closing's progress written or not; then replay
    from the first frame that was not acked, and compare with a life without a crash.
    """
    batches = [[(*r[:4], i) for r in batch] for i, batch in enumerate(batches)]
    crash_at = min(crash_at, len(batches))
    calm, _, _ = _live(batches, PartitionWindows(CONFIG, Progress()), 0)
    before, progress, history = _live(batches[:crash_at], PartitionWindows(CONFIG, Progress()), 0)
    if not written and history:
        progress = history[-1]
    first_unacked = _first_unacked(batches[:crash_at], progress.closed_until)
    after, _, _ = _live(
        batches[first_unacked:], PartitionWindows(CONFIG, progress), first_unacked, final=True
    )
    whole, _, _ = _live(batches, PartitionWindows(CONFIG, Progress()), 0, final=True)
    for start, content in after.items():
        if start in before:
            assert content == before[start], "published again with another content"
        assert content == whole[start]
    assert {**before, **after} == whole
    assert calm.items() <= whole.items()


def _live(batches, windows, first_offset, *, final=False):  # type: ignore[no-untyped-def]
    """Return published windows, the progress, and the progress before each closing."""
    published, history = {}, []
    progress = windows.progress
    for offset, batch in enumerate(batches, start=first_offset):
        add(windows, batch, offset)
        closings = [windows.due()]
        for close in filter(None, closings):
            history.append(progress)
            progress = _publish(close, published, windows, progress)
    if final and batches:
        windows.silent_for(10**9)
        if close := windows.due():
            progress = _publish(close, published, windows, progress)
    return published, progress, history


def _publish(close, published, windows, progress):  # type: ignore[no-untyped-def]
    kept = 0
    for window in close.windows:
        columns = Columns.joined(window.chunks).deduplicated()
        published[window.start] = contents(columns)
        kept += len(columns)
    progress = close.progress(progress, kept)
    windows.confirmed([close], progress)
    return progress


def _first_unacked(batches, closed_until: int) -> int:  # type: ignore[no-untyped-def]
    for offset, batch in enumerate(batches):
        if max(r[2] for r in batch) // SIZE * SIZE + SIZE > closed_until:
            return offset
    return len(batches)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 2)), max_size=60))
def test_kept_readings_match_a_dictionary(rows) -> None:  # type: ignore[no-untyped-def]
    from streams.windows.deduplicate import kept_readings

    key, ts, ingested = (
        (np.array(c, np.int64) for c in zip(*rows, strict=True))
        if rows
        else (np.empty(0, np.int64),) * 3
    )
    kept = kept_readings(key, ts, ingested)
    oracle: dict[tuple[int, int], int] = {}
    for i, (k, t, g) in enumerate(rows):
        known = oracle.get((k, t))
        if known is None or g >= rows[known][2]:
            oracle[k, t] = i
    found = list(range(len(rows))) if kept is None else kept.tolist()
    assert found == sorted(oracle.values())
