"""Citizens' personal data: pseudonyms by keyed hash, everything else sealed with a public key.

A pseudonym is HMAC-SHA256 (RFC 2104) of an identity, cut to 128 bits: without the key nobody can
tell whose it is, nor try out phone numbers. Sealed data are HPKE messages (RFC 9180, base mode:
X25519, HKDF-SHA256, ChaCha20-Poly1305): who takes reports in can seal and not open, only the
holder of the private key can. Keys are 32 bytes, written as base64url.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from civicstream.errors import ConfigurationError, DataError
from civicstream.settings import PrivacySettings

__all__ = ["Privacy", "PrivateKeys", "make_private_key", "mask_contacts", "public_key_of"]

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
_INFO = b"civicstream personal data"
_VERSION = "hpke1"

# Possessive, and never from the middle of a word: or it takes quadratic time where no @ follows.
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]++@[\w-]+\.[\w.-]*\w")
# Nine digits or more however they are grouped, or seven after a + or 0; never a date.
_PHONE = re.compile(
    r"(?<![\w+.])(?!\d{4}-\d\d-\d\d)"
    r"(?:[+0](?:[ ()/.-]{0,2}\d){6,14}|\d(?:[ ()/.-]{0,2}\d){8,14})(?!\w)"
)
MASK = "[…]"


class Privacy:
    """Makes pseudonyms and report ids, and seals. It cannot open what it has sealed."""

    def __init__(self, public_key: str, pseudonym_key: bytes) -> None:
        """Raise ConfigurationError for what is no public key."""
        raw = _raw_key(public_key, "CIVICSTREAM_PRIVACY__PUBLIC_KEY")
        self._public_key = X25519PublicKey.from_public_bytes(raw)
        self._key_id = _key_id(raw)
        self._secret = pseudonym_key

    @classmethod
    def from_settings(cls, settings: PrivacySettings) -> Privacy:
        """Raise ConfigurationError while a key is missing: there is no safe default."""
        if settings.public_key is None or settings.pseudonym_key is None:
            lacking = "PUBLIC_KEY" if settings.public_key is None else "PSEUDONYM_KEY"
            raise ConfigurationError(
                f"citizens' reports need CIVICSTREAM_PRIVACY__{lacking}; make the keys with "
                "`civicstream privacy-keys` and keep them: without the private key sealed "
                "personal data cannot be opened"
            )
        return cls(settings.public_key, settings.pseudonym_key.get_secret_value().encode())

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
        """Return ``data`` encrypted to the public key: ``hpke1.<key id>.<base64url>``."""
        sealed = _SUITE.encrypt(data, self._public_key, _INFO)
        return f"{_VERSION}.{self._key_id}.{_to_text(sealed)}"

    def seal_person(self, fields: Mapping[str, str | None]) -> str:
        """Return the fields that are given, sealed as a JSON object."""
        return self.seal(msgspec.json.encode({k: v for k, v in fields.items() if v}))


class PrivateKeys:
    """Opens what was sealed to any of the keys."""

    def __init__(self, private_keys: Sequence[str]) -> None:
        """Raise ConfigurationError for what is no private key; nothing of it is repeated."""
        self._keys = {}
        for text in private_keys:
            raw = _raw_key(text, "CIVICSTREAM_PRIVACY__PRIVATE_KEY")
            key = X25519PrivateKey.from_private_bytes(raw)
            self._keys[_key_id(key.public_key().public_bytes_raw())] = key

    @classmethod
    def from_settings(cls, settings: PrivacySettings) -> PrivateKeys:
        """Raise ConfigurationError while there is no private key."""
        if settings.private_key is None:
            raise ConfigurationError(
                "opening citizens' personal data needs CIVICSTREAM_PRIVACY__PRIVATE_KEY; it was "
                "made together with the public key that seals"
            )
        return cls(settings.private_key.get_secret_value().split(","))

    def unseal(self, sealed: str | bytes) -> bytes:
        """Return what was sealed; raise DataError when none of the keys opens it."""
        text = sealed.decode(errors="replace") if isinstance(sealed, bytes) else sealed
        version, _, rest = text.partition(".")
        key_id, _, encoded = rest.partition(".")
        key = self._keys.get(key_id)
        if version != _VERSION or key is None:
            raise DataError(
                "cannot_unseal",
                f"sealed to key {key_id[:16]!r}, which is none of those in "
                "CIVICSTREAM_PRIVACY__PRIVATE_KEY; put the key of that time behind the newest one",
            )
        try:
            return _SUITE.decrypt(_from_text(encoded), key, _INFO)
        except (InvalidTag, ValueError):
            raise DataError("cannot_unseal", "it was changed since it was sealed") from None


def make_private_key() -> str:
    """Return a new private key."""
    return secrets.token_urlsafe(32)


def public_key_of(private_key: str) -> str:
    """Return the public key that belongs to a private one."""
    raw = _raw_key(private_key, "CIVICSTREAM_PRIVACY__PRIVATE_KEY")
    return _to_text(X25519PrivateKey.from_private_bytes(raw).public_key().public_bytes_raw())


def _raw_key(text: str, setting: str) -> bytes:
    try:
        raw = _from_text(text.strip())
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 32:
        raise ConfigurationError(
            f"{setting} is no key of 32 bytes in base64url (43 characters); "
            "make the keys with `civicstream privacy-keys`"
        )
    return raw


def _key_id(public_key: bytes) -> str:
    return hashlib.sha256(public_key).hexdigest()[:16]


def _to_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _from_text(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def mask_contacts(text: str) -> str:
    """Return ``text`` with e-mail addresses and telephone numbers replaced by ``[…]``."""
    return _PHONE.sub(MASK, _EMAIL.sub(MASK, text))
