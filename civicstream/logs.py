"""One log format for every process, on standard error; libraries say a thing once a minute."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Hashable

__all__ = ["RepeatFilter", "set_up_logging"]

# Their INFO lines are many a second and tell an operator nothing; httpx's have secret addresses.
_CHATTY = ("kafka", "aiokafka", "faust", "mode", "amqtt", "transitions", "asyncio", "httpx")
# A minute of an absent broker was 1,530 lines of these.
_REPETITIVE = ("kafka", "aiokafka")
# That a server cannot be reached they say in a dozen ways, of each attempt: one state all the same.
_CONNECTING = (
    "kafka.net",
    "kafka.cluster",
    "aiokafka.client",
    "aiokafka.conn",
    "aiokafka.cluster",
)
_AGAIN_AFTER_S = 60.0


def set_up_logging(part: str, *, verbose: bool = False) -> None:
    """Send the log of this process to standard error, each line naming the part."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        stream=sys.stderr,
        format=f"%(asctime)s {part} %(levelname)s %(message)s",
        force=True,
    )
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.WARNING)
    logging.getLogger("kafka.cluster").addFilter(_is_no_farewell)
    if not verbose:
        for handler in logging.getLogger().handlers:
            handler.addFilter(RepeatFilter())


def _is_no_farewell(record: logging.LogRecord) -> bool:
    """WindowClose a kafka-python client cancels its refresh, which it logs as an error."""
    return "Cancelled" not in record.getMessage()


class RepeatFilter(logging.Filter):
    """Lets what the Kafka libraries say pass once a minute for each state, with a count.

    A state is "no connection" for one library, whatever it says of it, and else a place in its
    source. Our own lines, and those of other libraries, pass.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._states: dict[Hashable, tuple[float, int]] = {}
        """When the state was last let through, and how many lines were not since."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is to be written; may add the count to its message."""
        if record.name.partition(".")[0] not in _REPETITIVE:
            return True
        state, now = _state(record), self._clock()
        passed_at, held_back = self._states.get(state, (now - _AGAIN_AFTER_S, 0))
        if now - passed_at < _AGAIN_AFTER_S:
            self._states[state] = (passed_at, held_back + 1)
            return False
        self._states[state] = (now, 0)
        if held_back:
            text = record.getMessage()
            record.msg, record.args = "%s (and %d lines like it before)", (text, held_back)
        return True


def _state(record: logging.LogRecord) -> Hashable:
    for name in _CONNECTING:
        if record.name == name or record.name.startswith(f"{name}."):
            return name.partition(".")[0]
    return record.pathname, record.lineno
