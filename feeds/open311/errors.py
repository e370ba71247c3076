"""What Open311 answers when it cannot do what was asked."""

from __future__ import annotations

from collections.abc import Mapping

from civicstream.errors import DataError

__all__ = ["Open311Error", "refusal"]

# GeoReport v2: what was not found is 404, everything else that a client got wrong is 400.
_NOT_FOUND = {"unknown_service"}
_FIELDS = {
    "lon and lat": "lat and long",
    "lon ": "long ",
}


class Open311Error(Exception):
    """Ends a request with an HTTP status and a sentence, in the format that was asked for."""

    def __init__(
        self, status: int, description: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(description)
        self.status = status
        self.description = description
        self.headers = dict(headers or {})


def refusal(error: DataError) -> Open311Error:
    """Return the answer to a report that was refused, in Open311's names."""
    detail = error.detail
    for ours, theirs in _FIELDS.items():
        detail = detail.replace(ours, theirs)
    return Open311Error(404 if error.reason in _NOT_FOUND else 400, f"{error.reason}: {detail}")
