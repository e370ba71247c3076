"""Unit tests need no server; what one sets up in this process is gone before the next."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


def _loggers() -> list[logging.Logger]:
    known = logging.root.manager.loggerDict.values()
    return [logging.root, *(x for x in known if isinstance(x, logging.Logger))]


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """Take back what a command line under test does to the log: levels, filters, handlers."""
    before = {x.name: (x.level, list(x.filters)) for x in _loggers()}
    yield
    for logger in _loggers():
        logger.setLevel(before.get(logger.name, (logging.NOTSET, []))[0])
        logger.filters[:] = before.get(logger.name, (0, []))[1]
    for handler in list(logging.root.handlers):
        if type(handler) is logging.StreamHandler:
            logging.root.removeHandler(handler)
