"""Cases: what citizens' reports say, joined, confirmed, and followed to their end."""

from streams.dispatch.cases.evidence import Evidence
from streams.dispatch.cases.processor import CaseProcessor
from streams.dispatch.cases.rules import CaseRules

__all__ = ["CaseProcessor", "CaseRules", "Evidence"]
