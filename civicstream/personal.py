"""Citizens' personal data: pseudonyms by keyed hash, everything else sealed by Fernet.

A pseudonym is HMAC-SHA256 (RFC 2104) of an identity, cut to 128 bits: without the key nobody can
tell whose it is, nor try out phone numbers. Sealed data are Fernet tokens (AES-128-CBC with
HMAC-SHA256); their keys are derived from the settings' by HKDF-SHA256 (RFC 5869), so that any
text of 32 bytes or more will do as a key.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from civicstream.errors import ConfigurationError, DataError
from civicstream.settings import PrivacySettings

__all__ = ["Privacy", "mask_contacts"]

_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]*\w")
# Nine digits or more however they are grouped, or seven after a + or 0; never a date.
_PHONE = re.compile(
    r"(?<![\w+.])(?!\d{4}-\d\d-\d\d)"
    r"(?:[+0](?:[ ()/.-]{0,2}\d){6,14}|\d(?:[ ()/.-]{0,2}\d){8,14})(?!\w)"
)
MASK = "[…]"


class Privacy:
    """Makes pseudonyms and report ids, seals and opens. Keys: newest first, 32 bytes or more."""

    def __init__(self, keys: Sequence[bytes], pseudonym_key: bytes | None = None) -> None:
        self._fernet = MultiFernet([Fernet(_derive(key)) for key in keys])
        self._secret = pseudonym_key or keys[-1]

    @classmethod
    def from_settings(cls, settings: PrivacySettings) -> Privacy:
        """Raise ConfigurationError while there is no key: there is no safe default."""
        if settings.key is None:
            raise ConfigurationError(
                "citizens' reports need CIVICSTREAM_PRIVACY__KEY, a secret of at least 32 bytes; "
                "make one with `python3 -c 'import secrets; print(secrets.token_urlsafe(32))'` "
                "and keep it: without it sealed personal data cannot be opened"
            )
        keys = [key.strip().encode() for key in settings.key.get_secret_value().split(",")]
        own = settings.pseudonym_key
        return cls(keys, own.get_secret_value().strip().encode() if own else None)

    def pseudonym(self, identity: str) -> str:
        """Return the pseudonym of ``<way>:<identity>``, e.g. ``mqtt:phone-17``: 32 hex digits."""
        return self._keyed_hash("pseudonym", identity)

    def report_id(self, pseudonym: str, reference: str) -> str:
        """Return the id of a report, the same however often it is sent: 32 hex digits."""
        return self._keyed_hash("report", f"{pseudonym}/{reference}")

    def _keyed_hash(self, purpose: str, text: str) -> str:
        message = f"{purpose}\0{text}".encode("utf-8", "surrogatepass")
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()[:32]

    def seal(self, data: bytes) -> str:
        """Return ``data`` encrypted with the newest key."""
        return self._fernet.encrypt(data).decode()

    def seal_person(self, fields: Mapping[str, str | None]) -> str:
        """Return the fields that are given, sealed as a JSON object."""
        return self.seal(msgspec.json.encode({k: v for k, v in fields.items() if v}))

    def unseal(self, sealed: str | bytes) -> bytes:
        """Return what was sealed with any of the keys; raise DataError when none opens it."""
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken:
            raise DataError(
                "cannot_unseal",
                "sealed with none of the keys in CIVICSTREAM_PRIVACY__KEY, or changed since; "
                "put the key of that time behind the newest one",
            ) from None

    def reseal(self, sealed: str | bytes) -> str:
        """Return the same data under the newest key, so that older ones can be given up."""
        return self.seal(self.unseal(sealed))


def mask_contacts(text: str) -> str:
    """Return ``text`` with e-mail addresses and telephone numbers replaced by ``[…]``."""
    return _PHONE.sub(MASK, _EMAIL.sub(MASK, text))


def _derive(key: bytes) -> bytes:
    made = HKDF(SHA256(), length=32, salt=None, info=b"civicstream personal data").derive(key)
    return base64.urlsafe_b64encode(made)
