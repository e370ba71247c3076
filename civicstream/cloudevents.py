"""CloudEvents 1.0 headers in Kafka's binary mode (Kafka protocol binding, section 3.2)."""

from __future__ import annotations

from civicstream.clock import rfc3339

__all__ = ["cloud_headers"]


def cloud_headers(
    event_type: str, *, source: str, event_id: str, time_ms: int, subject: str | None = None
) -> list[tuple[str, bytes]]:
    """Return the headers of one JSON event; ``event_id`` is the same when it is sent again."""
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_type", f"org.civicstream.{event_type}".encode()),
        ("ce_source", source.encode()),
        ("ce_id", event_id.encode()),
        ("ce_time", rfc3339(time_ms).encode()),
        ("content-type", b"application/json"),
    ]
    if subject is not None:
        headers.append(("ce_subject", subject.encode()))
    return headers
