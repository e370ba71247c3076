"""Where a task goes on in its input, and what is gone: its memory against Kafka's log; pure."""

from __future__ import annotations

import msgspec

from civicstream.kafka.log_gaps import LogGap

__all__ = ["Input", "resume"]


class Input(msgspec.Struct, frozen=True):
    """How far a partition of an input topic was read."""

    resume_at: int = 0
    """Offset of the first record that is still needed."""
    next_offset: int = 0
    """Offset of the first record that was never read."""
    topic_id: str = ""
    """Kafka's own id of the topic: another one is another log."""


def resume(
    topic: str, partition: int, stored: Input, topic_id: str, first: int, end: int
) -> tuple[Input, LogGap | None]:
    """Return where to go on in a log that holds ``first`` to before ``end``, and what is gone.

    Of a log that is shorter than remembered everything still there had been read; what comes from
    its end on is new, though it has numbers that were used before.
    """
    if stored.topic_id and topic_id != stored.topic_id:
        gap = LogGap(topic, partition, stored.resume_at, stored.next_offset, "topic_recreated")
        return Input(first, first, topic_id), gap
    if stored.next_offset > end:
        gap = LogGap(topic, partition, end, stored.next_offset, "log_shorter")
        resume_at = max(first, min(stored.resume_at, end))
        return Input(resume_at, end, topic_id), gap
    if stored.resume_at < first:
        cleaned = LogGap(topic, partition, stored.resume_at, first, "log_cleaned")
        # What was cleaned before the task's first start is no gap in what it read.
        lost = cleaned if stored.topic_id else None
        return Input(first, max(first, stored.next_offset), topic_id), lost
    return Input(stored.resume_at, stored.next_offset, topic_id), None
