"""Automatic incident detection between neighbouring detectors."""

from streams.incidents.detector import (
    DEFAULT_INCIDENT_ALGORITHM,
    INCIDENT_ALGORITHMS,
    IncidentAlgorithm,
    IncidentDetector,
)

__all__ = [
    "DEFAULT_INCIDENT_ALGORITHM",
    "INCIDENT_ALGORITHMS",
    "IncidentAlgorithm",
    "IncidentDetector",
]
