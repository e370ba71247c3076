"""A payload as a JSON document, or the sentence that says why it is none."""

from __future__ import annotations

import json
import sys
from typing import Any

from civicstream.errors import RejectedReading

__all__ = ["parse_json", "shortened", "why_not_json"]

_LONGEST_QUOTE = 200


def shortened(text: str) -> str:
    """Return a decoder's sentence, which may quote the payload, fit for one line and a database."""
    plain = "".join(c if c.isprintable() else "?" for c in text[: _LONGEST_QUOTE + 1])
    return plain if len(plain) <= _LONGEST_QUOTE else plain[:_LONGEST_QUOTE] + "…"


def parse_json(payload: bytes, who: str) -> Any:
    """Return the JSON document; NaN and Infinity pass, so that their field can be named.

    ``who`` begins the sentence of the RejectedReading, which repeats nothing of the payload.
    """
    if not payload:
        raise RejectedReading("empty_payload", f"{who} is empty")
    try:
        return json.loads(payload.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise RejectedReading(
            "invalid_utf8", f"{who} is not UTF-8 at byte {error.start} ({error.reason})"
        ) from None
    except RecursionError:
        raise RejectedReading("not_json", f"{who} is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise RejectedReading("not_json", f"{who} is not JSON: {error}") from None
    except ValueError:  # CPython reads no integer of more digits
        raise RejectedReading(
            "number_too_large",
            f"{who} holds an integer of more than {sys.get_int_max_str_digits()} digits; numbers "
            "beyond ±2^63 are not taken",
        ) from None


def why_not_json(payload: bytes, who: str) -> RejectedReading:
    """Return the rejection of a payload that the strict decoder has refused as no JSON."""
    try:
        document = parse_json(payload, who)
    except RejectedReading as error:
        return error
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return RejectedReading(
            "lone_surrogate",
            f"{who} holds half of a surrogate pair, which is no character; send text in UTF-8",
        )
    except RecursionError:
        return RejectedReading("not_json", f"{who} is nested too deeply")
    return RejectedReading(
        "not_json", f"{who} is not JSON as RFC 8259 has it; is there a NaN or an Infinity in it?"
    )
