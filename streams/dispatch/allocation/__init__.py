"""Who is sent where: crews matched to open incidents and cases over the roads, and bin tours."""

from streams.dispatch.allocation.collection import TourPlanner
from streams.dispatch.allocation.dispatcher import Dispatcher
from streams.dispatch.allocation.policies import POLICIES
from streams.dispatch.allocation.settings import DispatchSettings
from streams.dispatch.allocation.store import Refusal
from streams.dispatch.allocation.tasks import task_of_case, task_of_incident

__all__ = [
    "POLICIES",
    "DispatchSettings",
    "Dispatcher",
    "Refusal",
    "TourPlanner",
    "task_of_case",
    "task_of_incident",
]
