"""``civicstream replay-city``: a recorded city, published when the city's clock says so."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from civicstream.city import City
from civicstream.clock import city_clock, rfc3339, wall_ms
from civicstream.kinds import KINDS
from civicstream.settings import Settings
from civicstream.stopping import stop_on_signals
from sensors_sim.city_recording import (
    PERIOD_MS,
    CityRecording,
    ParkingReadings,
    StreetReadings,
    read_city_recording,
)
from sensors_sim.messages import Block, Messages, fault_code
from sensors_sim.pacing import Pace
from sensors_sim.recorded_city import recorded_city
from sensors_sim.service import Run, connected, publish_blocks

__all__ = ["city_blocks", "replay_city"]

log = logging.getLogger(__name__)


def city_blocks(recording: CityRecording, shift_ms: int) -> Iterator[Block]:
    """Yield the readings, moved by ``shift_ms``, one block for each time of the streets.

    A mean of the five minutes up to T is dated one millisecond before T and sent then: a moment
    on the border belongs to the next window, and the five minutes to the one that ends there.
    """
    streets, parking = recording.readings, recording.parking
    again = streets.repeated()
    ends = np.unique(np.concatenate([streets.ts, -(-parking.ts // PERIOD_MS) * PERIOD_MS]))
    street_at = np.searchsorted(streets.ts, [ends, ends + 1]).T
    park_at = np.searchsorted(parking.ts, [ends - PERIOD_MS, ends]).T
    for end, (a, b), (c, d) in zip(
        ends.tolist(), street_at.tolist(), park_at.tolist(), strict=True
    ):
        groups = []
        if a < b:
            groups.append(_traffic(streets, again, slice(a, b), shift_ms))
        if c < d:
            groups.append(_parking(parking, slice(c, d), len(recording.streets), shift_ms))
        if groups:
            yield Block(tuple(groups), end + shift_ms)


def _traffic(
    readings: StreetReadings, again: np.ndarray[Any, np.dtype[np.bool_]], rows: slice, shift: int
) -> Messages:
    kind = KINDS["traffic"]
    measures = np.full((len(kind.measures), rows.stop - rows.start), np.nan)
    measures[kind.measure_names.index("intensity")] = readings.vehicles[rows]
    # Where no vehicle passed, the recording repeats an earlier speed: nothing was measured.
    passed = readings.vehicles[rows] > 0
    speed = np.where(passed, readings.speed_kmh[rows], np.nan)
    measures[kind.measure_names.index("averageVehicleSpeed")] = speed
    measures[kind.measure_names.index("period")] = PERIOD_MS / 1000
    ts = readings.ts[rows] + shift - 1
    made = Messages.good(kind, readings.street[rows], ts[:, None], measures[:, :, None])
    made.fault[again[rows]] = fault_code("duplicate")
    return made


def _parking(readings: ParkingReadings, rows: slice, streets: int, shift: int) -> Messages:
    kind = KINDS["parking"]
    measures = np.full((len(kind.measures), rows.stop - rows.start), np.nan)
    spaces, vehicles = readings.spaces[rows], readings.vehicles[rows]
    # At times more vehicles are counted than there are spaces: none is free then.
    measures[kind.measure_names.index("availableSpotNumber")] = np.maximum(spaces - vehicles, 0)
    measures[kind.measure_names.index("totalSpotNumber")] = spaces
    ts = readings.ts[rows] + shift
    return Messages.good(kind, readings.garage[rows] + streets, ts[:, None], measures[:, :, None])


def replay_city(
    settings: Settings,
    folder: Path,
    part: tuple[int, int],
    shift_ms: int,
    run: Run,
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Publish ``part`` (as recorded, epoch ms) moved by ``shift_ms``; return the counts.

    When what goes out is up to the city's clock, which the settings declare. ``read`` are the
    readings of the part, ``repeats`` those among them that were recorded before, ``gaps`` those
    that a street lacks between its first and last time.
    """
    stop = stop or stop_on_signals()
    recording = read_city_recording(folder, *part)
    city: City = recorded_city(recording)
    readings = recording.readings
    about = {
        "read": len(readings) + len(recording.parking.ts),
        "repeats": int(readings.repeated().sum()),
        "gaps": readings.gaps(len(recording.streets)),
    }
    log.info(
        "%d readings of %d streets and %d car parks, %s to %s, shown as %s to %s; "
        "%d of them repeats, %d missing",
        about["read"],
        len(recording.streets),
        len(recording.garages.ids),
        *(rfc3339(t) for t in part),
        *(rfc3339(t + shift_ms) for t in part),
        about["repeats"],
        about["gaps"],
    )
    clock = city_clock()
    with connected(settings, run, stop) as publisher:
        # From the clock's own beginning: however late this process starts, nothing is left out.
        pace = Pace(clock.wall_ms, clock.city_ms, clock.speed)
        log.info("the city's clock says %s", rfc3339(clock.at(wall_ms())))
        return publish_blocks(
            settings,
            city,
            run,
            publisher,
            city_blocks(recording, shift_ms),
            pace,
            stop,
            incidents=list,
            about=lambda: about,
            batch=1,
        )
