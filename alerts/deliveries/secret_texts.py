"""Secrets of receivers: where they are, never what they are, stands in the file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from civicstream.errors import ConfigurationError

__all__ = ["SecretText"]


class SecretText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``{env = "NAME"}`` or ``{file = "/run/secrets/name"}``."""

    env: str | None = None
    file: str | None = None

    def __post_init__(self) -> None:
        if (self.env is None) == (self.file is None):
            raise ValueError('a secret is either {env = "NAME"} or {file = "PATH"}')

    def read(self, environ: Mapping[str, str] | None = None) -> str:
        """Return the secret; raise ConfigurationError that says where it was looked for."""
        if self.env is not None:
            value = (os.environ if environ is None else environ).get(self.env, "")
            if not value:
                raise ConfigurationError(f"environment variable {self.env} is not set")
            return value
        assert self.file is not None  # noqa: S101 one of the two is there
        try:
            value = Path(self.file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"secret file {self.file}: {error}") from error
        if not value:
            raise ConfigurationError(f"secret file {self.file} is empty")
        return value
