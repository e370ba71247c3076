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

SERVICE_VIEWS = {
    "cases": {"cases_current": _CASES},
    "allocations": {"allocations_current": _ALLOCATIONS},
    "alerts": {"alerts_current": _ALERTS},
    "reports": {"reports": _REPORTS},
}
"""Group -> view -> what it selects."""
