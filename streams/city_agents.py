"""The parts of a worker that see the whole city: its road network, and its desk."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial

import faust

from civicstream.city import City
from civicstream.local_time import local_offset
from civicstream.services import load_services
from civicstream.settings import Settings
from streams.allocation import DispatchSettings
from streams.app import make_city_table, make_city_topic
from streams.dispatch import INPUTS, Dispatch
from streams.dispatch_stream import DispatchAgent
from streams.network import RoadNetwork
from streams.network_judgement import RoadOutlook
from streams.network_stream import NetworkAgent
from streams.publication import Publication
from streams.sequence import FrameSequence

__all__ = ["CityAgents"]


class CityAgents:
    """``network`` and ``desk`` are None where the settings or the city have no use for them."""

    def __init__(
        self,
        app: faust.App,
        settings: Settings,
        city: City,
        publication: Publication,
        executor: Executor,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._app, self._settings = app, settings
        self._publication = publication
        self._table = make_city_table(app)
        self.network = self._watch_network(RoadNetwork(city), executor)
        self.desk = self._serve(city, on_failure)

    def _watch_network(self, network: RoadNetwork, executor: Executor) -> NetworkAgent | None:
        wanted = self._settings.intelligence
        if not len(network) or (wanted.incidents == "none" and not wanted.forecasts):
            return None
        agent = NetworkAgent(self._settings, network, self._publication, self._table, executor)
        topic = make_city_topic(self._app, self._settings.kafka, "network")
        self._app.agent(topic, name="network")(partial(agent.read, self._app))
        return agent

    def _serve(
        self, city: City, on_failure: Callable[[BaseException], None]
    ) -> DispatchAgent | None:
        wanted = self._settings.allocation
        if not wanted.enabled:
            return None
        services = load_services(self._settings.reports.services_file)
        plan = DispatchSettings(policy=wanted.policy, plan_every_s=wanted.plan_every_s)
        offset = local_offset(self._settings.city.timezone)
        agent = DispatchAgent(
            self._settings.kafka,
            lambda: Dispatch(services, city, plan, offset),
            self._publication,
            self._table,
            self._outlook,
            on_failure,
        )
        topic = make_city_topic(self._app, self._settings.kafka, *INPUTS)
        self._app.agent(topic, name="dispatch")(partial(agent.read, self._app))
        return agent

    def _outlook(self) -> RoadOutlook | None:
        return self.network.outlook() if self.network else None

    async def assigned(self) -> None:
        """Begin with what is assigned to this worker now."""
        if self.desk:
            await self.desk.assigned(self._app.consumer.assignment())

    def revoked(self, partitions: set[faust.types.TP]) -> None:
        """Forget what is another worker's now."""
        if self.network and any(tp.topic == self.network.topic for tp in partitions):
            self.network.revoke()
        if self.desk and any(tp.topic in self.desk.topics for tp in partitions):
            self.desk.revoke()

    def sequences(self) -> list[tuple[faust.types.TP, FrameSequence]]:
        """Return what must come next on each partition that this worker has."""
        return [found for agent in self._agents for found in agent.sequences()]

    def figures(self) -> dict[str, float]:
        """Return the gauges of all."""
        return {name: value for agent in self._agents for name, value in vars(agent.gauges).items()}

    def close(self) -> None:
        if self.desk:
            self.desk.close()

    @property
    def _agents(self) -> list[NetworkAgent | DispatchAgent]:
        return [agent for agent in (self.network, self.desk) if agent is not None]
