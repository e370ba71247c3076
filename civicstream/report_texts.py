"""What a citizen wrote, made fit to be stored, shown and searched.

Nothing here repeats a text in an error: the error may travel where the text must not.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import urlsplit

from civicstream.errors import RejectedReading

__all__ = ["clean_line", "clean_text", "media_link", "notify_wish", "plain_code"]

# Characters that turn the direction of the text around them: made for forging what is shown.
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_MAX_LINK = 2_000
_CODE = re.compile(r"[A-Za-z0-9._:-]{1,80}")


def clean_text(text: str, field: str, limit: int) -> str:
    """Return the text in Unicode's NFC with line breaks, but without control characters.

    Raise RejectedReading when it is longer than ``limit`` characters.
    """
    if len(text) > limit:
        raise RejectedReading(
            "text_too_long", f"{field} has {len(text)} characters, at most {limit} are allowed"
        )
    unbroken = text.replace("\r\n", "\n").replace("\r", "\n")
    kept = "".join(c for c in unbroken if c in "\n\t" or _is_printable(c))
    return unicodedata.normalize("NFC", kept).strip()


def clean_line(text: str, field: str, limit: int) -> str:
    """Return the text as ``clean_text`` does, on one line."""
    return " ".join(clean_text(text, field, limit).split())


def _is_printable(char: str) -> bool:
    # Cc control characters, Cs halves of a surrogate pair: no UTF-8, no XML, no PostgreSQL text
    return unicodedata.category(char) not in {"Cc", "Cs"} and char not in _DIRECTIONS


def plain_code(text: str, field: str) -> str:
    """Return a client's own number; raise RejectedReading for what could be more than that."""
    if not _CODE.fullmatch(text):
        raise RejectedReading(
            f"{field}_malformed",
            f"{field} must be 1 to 80 letters, digits or any of '._:-'; use a number of your own "
            "that says nothing of the person",
        )
    return text


def media_link(link: str) -> str:
    """Return an http or https address; raise RejectedReading for anything else."""
    try:
        parts = urlsplit(link)
        usable = (
            parts.scheme in {"http", "https"}
            and bool(parts.hostname)
            and parts.username is None
            and len(link) <= _MAX_LINK
            and link.isprintable()
            and " " not in link
        )
    except ValueError:
        usable = False
    if not usable:
        raise RejectedReading(
            "media_url_malformed",
            f"media_url must be an http or https address of at most {_MAX_LINK} characters, "
            "without a user name in it",
        )
    return link


def notify_wish(wish: str, *, has_email: bool) -> str:
    """Return how a citizen wants to be notified of their case: ``email``, or an https address.

    Raise RejectedReading for anything else: nobody shall wait for news that cannot come.
    """
    if wish == "email":
        if has_email:
            return wish
        raise RejectedReading("notify_malformed", "notify is email, but no email was given")
    try:
        parts = urlsplit(wish)
        usable = parts.scheme == "https" and bool(parts.hostname) and parts.username is None
    except ValueError:
        usable = False
    if not usable or not wish.isascii() or not wish.isprintable() or " " in wish:
        raise RejectedReading(
            "notify_malformed",
            "notify must be email or an https address in ASCII, without a user name in it",
        )
    return wish
