"""The guard around one message: what nobody thought of makes a dead letter, not the end of a city.

Without it the broker would hand the same message to every next start of the gateway.
"""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

from civicstream.errors import RejectedReading

__all__ = ["Guard"]

log = logging.getLogger(__name__)

# One message a kind and quarter of an hour: a sender that repeats itself must not fill the disk.
_LOGGED_EVERY_S = 900.0


class Guard:
    """Turns an exception that is no rejection into one, and logs it, throttled, by kind."""

    def __init__(self) -> None:
        self._logged_at: dict[str, float] = {}
        self._unlogged: dict[str, int] = {}

    def rejection(self, kind: str, error: Exception, now: float) -> RejectedReading:
        """Return the rejection of a message of ``kind``; ``now`` is the monotonic clock [s].

        Neither it nor the log repeats the error's own words: they may quote a citizen.
        """
        what = f"{type(error).__name__} in {_place(error)}"
        if now - self._logged_at.get(kind, -_LOGGED_EVERY_S) >= _LOGGED_EVERY_S:
            self._logged_at[kind] = now
            log.error(
                "a defect of the gateway, please report it: a %s message became a dead letter "
                "internal_error (%s); %d more of this kind since the last such line",
                kind,
                what,
                self._unlogged.pop(kind, 0),
            )
        else:
            self._unlogged[kind] = self._unlogged.get(kind, 0) + 1
        return RejectedReading(
            "internal_error",
            f"the gateway failed on this message ({what}), which is a defect of the gateway; the "
            "message is kept here, send it to the developers",
        )


def _place(error: Exception) -> str:
    """Return file, line and function of where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "an unknown place"
    last = frames[-1]
    return f"{Path(last.filename).name}:{last.lineno} {last.name}"
