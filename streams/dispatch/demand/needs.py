"""What sensors ask for: services beside those that citizens report, and who can do them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from civicstream.services import ServiceType

__all__ = ["SENSOR_NEEDS", "Need", "all_needs"]


@dataclass(frozen=True)
class Need:
    """A service as demand sees it."""

    code: str
    skill: str
    work_min: float


SENSOR_NEEDS = (
    Need("road_incident", "tow", 30),
    Need("bin_collection", "bin_collection", 6),
    Need("parking_space", "patrol", 20),
    Need("water_network", "water", 60),
    Need("power_grid", "electric", 60),
)


def all_needs(services: Mapping[str, ServiceType]) -> list[Need]:
    """Return the city's services, then those that sensors ask for and that it does not have."""
    reported = [Need(s.code, s.skill, s.work_min) for s in services.values()]
    return reported + [need for need in SENSOR_NEEDS if need.code not in services]
