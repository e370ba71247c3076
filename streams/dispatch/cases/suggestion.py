"""Which service a text speaks of, by the services' keywords in any language.

The keywords of all services are looked for at once, the longest first, and a place in the text
is taken by the first that matches: so "traffic signal" is not also a "sign". A service scores the
letters matched.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from civicstream.services import ServiceType

__all__ = ["Suggester"]

_LEAST_LETTERS = 4
"""Shorter words mean something else in some language ("Tag" is a day)."""
_CLEARLY_MORE = 1.5
_COMPOUND_LETTERS = 5
"""Words of this length are found inside compounds too, as German and Dutch build them."""


class Suggester:
    """The keywords of all services, ready to be looked for."""

    def __init__(self, services: Mapping[str, ServiceType]) -> None:
        words = {(_folded(word), s.code) for s in services.values() for word in s.keywords}
        ordered = sorted(words, key=lambda pair: (-len(pair[0]), pair))
        self._keywords = [(re.compile(_pattern(word)), len(word), code) for word, code in ordered]

    def suggest(self, service: str, text: str) -> str | None:
        """Return the service the text clearly speaks of when it says nothing of ``service``."""
        scores = self._scores(text)
        if not scores or service in scores:
            return None
        (most, best), *others = sorted(((n, code) for code, n in scores.items()), reverse=True)
        second = others[0][0] if others else 0
        clear = most >= _LEAST_LETTERS and most >= _CLEARLY_MORE * second
        return best if clear else None

    def _scores(self, text: str) -> dict[str, int]:
        left = _folded(text)
        scores: dict[str, int] = {}
        taken: dict[str, str] = {}
        for pattern, letters, code in self._keywords:
            found = pattern.search(left)
            # A word that several services share speaks for each of them.
            if found is None and taken.get(pattern.pattern) is None:
                continue
            scores[code] = scores.get(code, 0) + letters
            taken[pattern.pattern] = code
            left = pattern.sub(" \x00 ", left)
        return scores


def _folded(text: str) -> str:
    """Return the text without case and accents, words apart by one space."""
    apart = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(c for c in apart if not unicodedata.combining(c))
    return " ".join(bare.split())


def _pattern(word: str) -> str:
    escaped = re.escape(word)
    if len(word) >= _COMPOUND_LETTERS:
        return escaped
    # Endings such as plurals; hardly any for the shortest words, or "bin" would be in "bingo".
    return rf"\b{escaped}\w{{0,{1 if len(word) < _LEAST_LETTERS else 3}}}\b"
