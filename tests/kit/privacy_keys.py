"""One set of keys for citizens' personal data, and the settings of who seals and who opens."""

from __future__ import annotations

import base64

from civicstream.personal import PrivateKeys, public_key_of

PRIVATE_KEY = base64.urlsafe_b64encode(b"only tests open what this seals!").decode().rstrip("=")
PUBLIC_KEY = public_key_of(PRIVATE_KEY)
PSEUDONYM_KEY = "a pseudonym key for tests, long enough"

SEALING = {"privacy__public_key": PUBLIC_KEY, "privacy__pseudonym_key": PSEUDONYM_KEY}
"""Of the gateway and the feeds."""
OPENING = {"privacy__private_key": PRIVATE_KEY}
"""Of who writes to citizens."""


def unseal(sealed: str | bytes) -> bytes:
    return PrivateKeys([PRIVATE_KEY]).unseal(sealed)
