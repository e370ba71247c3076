"""Who is sent where: crews matched to open incidents and cases over the roads, and bin tours."""

from streams.allocation.collection import TourDesk
from streams.allocation.dispatcher import Dispatcher
from streams.allocation.policies import POLICIES
from streams.allocation.settings import DispatchSettings
from streams.allocation.state import Refusal
from streams.allocation.tasks import task_of_case, task_of_incident

__all__ = [
    "POLICIES",
    "DispatchSettings",
    "Dispatcher",
    "Refusal",
    "TourDesk",
    "task_of_case",
    "task_of_incident",
]
