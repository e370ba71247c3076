"""Frames are numbered consecutively: find the gaps and repeats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["Gap", "Received", "Stream", "Tally", "account"]


@dataclass(frozen=True)
class Stream:
    """Where frames are numbered consecutively from 0."""

    gateway: str
    epoch: int
    topic: str
    partition: int


@dataclass(frozen=True)
class Received:
    """One frame as it came."""

    stream: Stream
    seq: int
    count: int


@dataclass(frozen=True)
class Tally:
    """What has come of a stream: the next number expected, and cumulative counts.

    ``readings`` are of frames counted once, ``gaps`` frames that never came, ``repeats`` frames
    that came again.
    """

    next_seq: int = 0
    frames: int = 0
    readings: int = 0
    gaps: int = 0
    repeats: int = 0


@dataclass(frozen=True)
class Gap:
    """``missing`` frames from number ``first`` on were skipped."""

    stream: Stream
    first: int
    missing: int


def account(
    known: Mapping[Stream, Tally], frames: Iterable[Received]
) -> tuple[dict[Stream, Tally], list[Gap]]:
    """Return the tallies that change with these frames (in order of arrival) and the gaps found."""
    changed: dict[Stream, Tally] = {}
    gaps = []
    for frame in frames:
        tally = changed.get(frame.stream) or known.get(frame.stream) or Tally()
        if frame.seq < tally.next_seq:
            changed[frame.stream] = Tally(
                tally.next_seq, tally.frames, tally.readings, tally.gaps, tally.repeats + 1
            )
            continue
        missing = frame.seq - tally.next_seq
        if missing:
            gaps.append(Gap(frame.stream, tally.next_seq, missing))
        changed[frame.stream] = Tally(
            frame.seq + 1,
            tally.frames + 1,
            tally.readings + frame.count,
            tally.gaps + missing,
            tally.repeats,
        )
    return changed, gaps
