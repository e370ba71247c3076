"""What is concluded from each traffic window of the whole city: incidents and forecasts; pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from civicstream.events import TrafficForecast
from civicstream.local_time import LocalOffset
from civicstream.settings import IntelligenceSettings
from streams.forecast.network_forecaster import NetworkForecaster
from streams.incidents import IncidentDetector
from streams.runtime.records import Record, make_record, sliced_records
from streams.windows.network import NetworkWindow, RoadNetwork

__all__ = ["NetworkJudgement", "RoadOutlook"]

_INCIDENTS = "incidents"
_RECENT = "recent"
_USUAL = "usual/"
_WEIGHTS = "weights/"

# What the forecasters learned is written a piece at a time, each once in so many dumps.
_WEIGHTS_EVERY = 15


@dataclass(frozen=True)
class RoadOutlook:
    """Speeds [km/h] over the city's segments, NaN where unknown: now, and by minutes ahead."""

    now_kmh: NDArray[np.float64]
    ahead_kmh: dict[int, NDArray[np.float64]]


class NetworkJudgement:
    """Same state and same window, same records with the same ids."""

    def __init__(
        self,
        network: RoadNetwork,
        settings: IntelligenceSettings,
        window_s: float,
        local: LocalOffset,
    ) -> None:
        self._incidents = (
            None
            if settings.incidents == "none"
            else IncidentDetector(network, settings.incidents, local)
        )
        self._forecaster = NetworkForecaster(network, window_s) if settings.forecasts else None
        self._dumps = 0
        self._index = network.city.segment_index
        self.outlook: RoadOutlook | None = None
        """As of the newest window."""

    def step(self, window: NetworkWindow, now_ms: int) -> list[Record]:
        """Take in the next window; return the incidents' new versions and a forecast per area."""
        records = []
        if self._incidents is not None:
            records += [
                make_record("incidents", i.area, i, f"incident/{i.id}/{i.version}", now_ms)
                for i in self._incidents.step(window, now_ms)
            ]
        forecasts = self._forecaster.step(window, now_ms) if self._forecaster else []
        for f in forecasts:
            event_id = f"forecast/{f.area}/{f.made_at}"
            records += sliced_records("forecasts", f.area, f, event_id, now_ms)
        self.outlook = self._outlook(window, forecasts)
        return records

    def _outlook(self, window: NetworkWindow, forecasts: list[TrafficForecast]) -> RoadOutlook:
        ahead: dict[int, NDArray[np.float64]] = {}
        for forecast in forecasts:
            segments = [self._index[row.segment] for row in forecast.segments]
            speeds = np.array([row.speed_kmh for row in forecast.segments], np.float64)
            for number, minutes in enumerate(forecast.horizons_min):
                whole = ahead.setdefault(minutes, np.full(len(window.speed_kmh), np.nan))
                whole[segments] = speeds[:, number]
        return RoadOutlook(window.speed_kmh, ahead)

    @property
    def open_incidents(self) -> int:
        """How many incidents are confirmed and not cleared."""
        if self._incidents is None:
            return 0
        return sum(i.state in {"confirmed", "clearing"} for i in self._incidents.tracker.open)

    def dump(self) -> tuple[dict[str, bytes], dict[str, bytes]]:
        """Return the exact state, and what was learned that is due to be written.

        What is due is returned once: it must be written before the next call.
        """
        fast: dict[str, bytes] = {}
        slow: dict[str, bytes] = {}
        if self._incidents is not None:
            fast[_INCIDENTS] = self._incidents.dump()
            usual = self._incidents.dump_baseline()
            slow |= {_USUAL + name: content for name, content in usual.items()}
        if self._forecaster is not None:
            fast[_RECENT] = self._forecaster.dump_recent()
            turn, self._dumps = self._dumps % _WEIGHTS_EVERY, self._dumps + 1
            for chunk in self._forecaster.chunks[turn::_WEIGHTS_EVERY]:
                slow[_WEIGHTS + chunk] = self._forecaster.dump_weights(chunk)
        return fast, slow

    def restore(self, fast: dict[str, bytes], slow: dict[str, bytes]) -> None:
        """Go on from dumped states, before the first step; what is missing begins young."""
        if self._incidents is not None:
            self._incidents.restore_baseline(_under(_USUAL, slow))
            if _INCIDENTS in fast:
                self._incidents.restore(fast[_INCIDENTS])
        if self._forecaster is not None:
            for content in _under(_WEIGHTS, slow).values():
                self._forecaster.restore_weights(content)
            if _RECENT in fast:
                self._forecaster.restore_recent(fast[_RECENT])


def _under(prefix: str, states: dict[str, bytes]) -> dict[str, bytes]:
    return {n.removeprefix(prefix): c for n, c in states.items() if n.startswith(prefix)}
