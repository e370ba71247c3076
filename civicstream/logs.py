"""One log format for every process, on standard error."""

from __future__ import annotations

import logging
import sys

__all__ = ["set_up_logging"]

# Their INFO lines are many a second and tell an operator nothing; httpx's have secret addresses.
_CHATTY = ("kafka", "aiokafka", "faust", "mode", "amqtt", "transitions", "asyncio", "httpx")


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


def _is_no_farewell(record: logging.LogRecord) -> bool:
    """Closing a kafka-python client cancels its refresh, which it logs as an error."""
    return "Cancelled" not in record.getMessage()
