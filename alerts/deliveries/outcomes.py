"""What may become of an attempt to deliver, apart from success."""

from __future__ import annotations

__all__ = ["Refused", "TryAgain"]


class Refused(Exception):
    """The receiver does not want this one, now or ever: it becomes a dead letter at once."""


class TryAgain(Exception):
    """It did not work this time. ``after_s``: what the receiver asks to wait at least."""

    def __init__(self, why: str, after_s: float = 0.0) -> None:
        super().__init__(why)
        self.after_s = after_s
