"""Cases: what citizens' reports say, joined, confirmed, and followed to their end."""

from streams.cases.desk import CaseDesk
from streams.cases.evidence import Evidence
from streams.cases.rules import CaseRules

__all__ = ["CaseDesk", "CaseRules", "Evidence"]
