"""Views of reports, cases, allocations and alerts: the present state, out of all versions."""

from __future__ import annotations

__all__ = ["SERVICE_VIEWS"]

# As in views.py, "the newest" is "there is no newer one", so that conditions are applied before.
_CASES = """
    SELECT h.* FROM cases h WHERE NOT EXISTS (
        SELECT FROM cases newer WHERE newer.id = h.id AND newer.version > h.version)"""

_ALLOCATIONS = """
    SELECT h.* FROM allocations h WHERE NOT EXISTS (
        SELECT FROM allocations newer WHERE newer.id = h.id AND newer.version > h.version)"""

_ALERTS = """
    SELECT h.* FROM alerts h WHERE NOT EXISTS (
        SELECT FROM alerts newer WHERE newer.id = h.id AND newer.version > h.version)"""

# Each report makes one version of one case, which names it. Reports and cases come on different
# topics, so the link cannot be a column of the report: whichever comes first would miss it.
_REPORTS = """
    SELECT r.*, (
        SELECT c.id FROM cases c WHERE c.latest_report = r.id ORDER BY c.updated_at LIMIT 1
    ) AS case_id
    FROM citizen_reports r"""

_TOURS = """
    SELECT h.* FROM tours h WHERE NOT EXISTS (
        SELECT FROM tours newer WHERE newer.id = h.id AND newer.version > h.version)"""

# By the day (UTC) on which a tour ended; its last version holds what was really done.
_COLLECTION = """
    SELECT date_trunc('day', updated_at, 'UTC') AS day, count(*) AS tours,
        sum(emptied)::bigint AS emptied, sum(km_driven) AS km_driven, sum(overflow_h) AS overflow_h
    FROM tours, LATERAL (
        SELECT count(*) AS emptied FROM jsonb_array_elements(stops) AS stop
        WHERE stop ->> 'emptied_at' IS NOT NULL) AS done
    WHERE state IN ('finished', 'withdrawn') GROUP BY 1"""

# Containers that are full now, and since when they have been.
_OVERFLOWING = """
    SELECT c.sensor_key, c.sensor, c.area, c.lon, c.lat, c.level, c.at, (
        SELECT min(b.at) FROM bin_forecasts b
        WHERE b.sensor_key = c.sensor_key AND b.predicted_full_at <= b.at
            AND b.at > coalesce(c.emptied_at, '-infinity')) AS full_since
    FROM bins_current c WHERE c.predicted_full_at <= c.at"""

SERVICE_VIEWS = {
    "cases": {"cases_current": _CASES},
    "allocations": {"allocations_current": _ALLOCATIONS},
    "alerts": {"alerts_current": _ALERTS},
    "reports": {"reports": _REPORTS},
    "waste": {
        "tours_current": _TOURS,
        "collection_by_day": _COLLECTION,
        "containers_overflowing": _OVERFLOWING,
    },
}
"""Group -> view -> what it selects."""
