"""The keys of Open311's clients: only their SHA-256 is ever stored."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping

from civicstream.errors import ConfigurationError
from civicstream.settings import FeedsSettings

__all__ = ["key_digest", "key_name", "load_api_keys"]

_ENTRY = re.compile(r"([A-Za-z0-9._-]{1,80}):([0-9a-fA-F]{64})")


def key_digest(key: str) -> str:
    """Return what to store of a key. A plain hash will do: keys are long and random."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def key_name(keys: Mapping[str, str], key: str) -> str | None:
    """Return whose key it is, None for an unknown one."""
    return keys.get(key_digest(key))


def load_api_keys(settings: FeedsSettings) -> dict[str, str]:
    """Return digest -> name from settings and file; raise ConfigurationError for a bad entry."""
    keys: dict[str, str] = {}
    for where, entry in _entries(settings):
        matched = _ENTRY.fullmatch(entry)
        if matched is None:
            raise ConfigurationError(
                f"{where}: expected name:SHA-256 of the key, 64 hex digits; "
                "make it with `printf %s KEY | sha256sum`"
            )
        keys[matched.group(2).lower()] = matched.group(1)
    return keys


def _entries(settings: FeedsSettings) -> Iterator[tuple[str, str]]:
    for number, entry in enumerate(filter(None, settings.api_keys.split(",")), 1):
        yield f"CIVICSTREAM_FEEDS__API_KEYS, entry {number}", entry.strip()
    if settings.api_keys_file is None:
        return
    path = settings.api_keys_file
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"API key file {path}: {error}; set CIVICSTREAM_FEEDS__API_KEYS_FILE"
        ) from error
    for number, line in enumerate(lines, 1):
        if (entry := line.strip()) and not entry.startswith("#"):
            yield f"API key file {path}, line {number}", entry
