"""The tasks of a worker that see the whole city: its road network, and its cases and crews."""

from __future__ import annotations

from concurrent.futures import Executor

from civicstream.city import City
from civicstream.local_time import local_offset
from civicstream.services import load_services
from civicstream.settings import Settings
from streams.dispatch.allocation import DispatchSettings
from streams.dispatch.dispatch import Dispatch
from streams.dispatch.dispatch_stream import DispatchTask
from streams.network.network_judgement import RoadOutlook
from streams.network.network_stream import NetworkTask
from streams.windows.network import RoadNetwork

__all__ = ["CityAgents"]


class CityAgents:
    """``network`` and ``desk`` are None where the settings or the city have no use for them."""

    def __init__(self, settings: Settings, city: City, executor: Executor) -> None:
        self._settings = settings
        self.network = self._watch_network(RoadNetwork(city), executor)
        self.desk = self._serve(city)

    def _watch_network(self, network: RoadNetwork, executor: Executor) -> NetworkTask | None:
        wanted = self._settings.intelligence
        if not len(network) or (wanted.incidents == "none" and not wanted.forecasts):
            return None
        return NetworkTask(self._settings, network, executor)

    def _serve(self, city: City) -> DispatchTask | None:
        wanted = self._settings.allocation
        if not wanted.enabled:
            return None
        services = load_services(self._settings.reports.services_file)
        plan = DispatchSettings(policy=wanted.policy, plan_every_s=wanted.plan_every_s)
        offset = local_offset(self._settings.city.timezone)
        return DispatchTask(
            self._settings.kafka, lambda: Dispatch(services, city, plan, offset), self._outlook
        )

    def _outlook(self) -> RoadOutlook | None:
        return self.network.outlook() if self.network else None

    @property
    def tasks(self) -> list[NetworkTask | DispatchTask]:
        return [task for task in (self.network, self.desk) if task is not None]

    def figures(self) -> dict[str, float]:
        """Return the gauges of all."""
        return {name: value for task in self.tasks for name, value in vars(task.gauges).items()}

    def close(self) -> None:
        if self.desk:
            self.desk.close()
