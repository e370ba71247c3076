"""What a long publication shows: a live line on a terminal, a log line every few seconds else."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.status import Status

__all__ = ["Progress", "show_progress"]

log = logging.getLogger(__name__)

_LOG_EVERY_S = 5.0
_DRAW_EVERY_S = 0.25
_RATE_OVER_S = 5.0


class Progress:
    """Call ``tick`` as often as you like."""

    def __init__(
        self, counts: Callable[[], tuple[int, int]], write: Callable[[str], None], every_s: float
    ) -> None:
        """``counts`` returns readings published and acked so far."""
        self._counts = counts
        self._write = write
        self._every = every_s
        self._next = 0.0
        self._past: list[tuple[float, int]] = [(time.monotonic(), 0)]

    def tick(self) -> None:
        now = time.monotonic()
        published, acked = self._counts()
        # The first acked reading is news at once: it is how others see that we are at work.
        first = self._next == 0.0 and acked > 0
        if not first and (self._next == 0.0 or now < self._next):
            return
        self._next = now + self._every
        self._past.append((now, published))
        while now - self._past[0][0] > _RATE_OVER_S and len(self._past) > 2:
            self._past.pop(0)
        since, before = self._past[0]
        stats = {
            "published": published,
            "acked": acked,
            "readings_per_s": round((published - before) / max(now - since, 1.0)),
        }
        self._write(json.dumps(stats))


@contextlib.contextmanager
def show_progress(counts: Callable[[], tuple[int, int]]) -> Iterator[Progress]:
    """Yield a Progress that draws on a terminal, and logs ``stats {json}`` lines elsewhere."""
    if not sys.stderr.isatty():
        yield Progress(counts, lambda stats: log.info("stats %s", stats), _LOG_EVERY_S)
        return
    with Status("publishing", console=Console(stderr=True)) as status:

        def draw(stats: str) -> None:
            s = json.loads(stats)
            status.update(
                f"{s['published']:,} readings published, {s['acked']:,} acked, "
                f"{s['readings_per_s']:,} readings/s"
            )

        yield Progress(counts, draw, _DRAW_EVERY_S)
