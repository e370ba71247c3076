"""What a citizen wrote, made safe to show: no control characters, no text without end."""

from __future__ import annotations

import unicodedata

__all__ = ["clean_text"]

_KEPT = {"\n", "\t", "\u200c", "\u200d"}
"""Line breaks, and the joiners that emoji and several scripts are spelt with."""
_DROPPED = {"Cc", "Cf", "Cs"}
"""Control, format (text direction overrides can disguise a text), and halves of surrogates."""


def clean_text(text: str, most: int) -> tuple[str, list[str]]:
    """Return the text in Unicode NFC without control characters, cut to ``most`` characters.

    The second value says in words what was done to it beyond normalising; mostly nothing.
    """
    done = []
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    kept = "".join(c for c in lines if c in _KEPT or unicodedata.category(c) not in _DROPPED)
    if len(kept) < len(lines):
        done.append(f"{len(lines) - len(kept)} control characters removed")
    clean = unicodedata.normalize("NFC", kept).strip()
    if len(clean) > most:
        done.append(f"text cut from {len(clean)} to {most} characters")
        clean = clean[:most].rstrip()
    return clean, done
