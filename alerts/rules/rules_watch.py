"""The rules file as it is now: read again when it changes."""

from __future__ import annotations

import logging
from pathlib import Path

from alerts.rules.rule_file import load_rules
from civicstream.errors import ConfigurationError

__all__ = ["RulesWatch"]

log = logging.getLogger(__name__)

Stamp = tuple[int, int, int]


class RulesWatch:
    """Holds the rules in force; raise ConfigurationError at first when the file is wrong."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stamp = self._now()
        self.rules = load_rules(path)

    def _now(self) -> Stamp | None:
        if self._path is None:
            return None
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    def changed(self) -> bool:
        """Whether there are new rules in force; a file that is wrong is logged and left."""
        stamp = self._now()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            rules = load_rules(self._path)
        except ConfigurationError as error:
            log.error("the new rules are refused, the old ones go on: %s", error)  # noqa: TRY400
            return False
        if rules == self.rules:
            return False
        self.rules = rules
        log.info("%d rules from %s are in force", len(rules), rules.origin)
        return True
