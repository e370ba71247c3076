"""Cases: what citizens' reports say, joined, confirmed, and followed to their end."""

from streams.dispatch.cases.desk import CaseDesk
from streams.dispatch.cases.evidence import Evidence
from streams.dispatch.cases.rules import CaseRules

__all__ = ["CaseDesk", "CaseRules", "Evidence"]
