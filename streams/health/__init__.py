"""Is the sensor broken, or is the city unusual? The watch over one kind in one partition.

    places = SensorPlaces(city, kind)          # once per kind, shared by its partitions
    watch = SensorWatch(places, window_ms=60_000, detector=AnomalyDetector())

A life that follows another first restores each area's states, in any order of the areas::

    watch.restore(area, fast, profile)         # bytes or None; an older profile will do

Then, for each closed window, in order, before its results are calculated::

    observed = watch.observe(start, end, readings, area_names, late, now_ms)
    results from readings.take(~observed.excluded)
    publish observed.health (topic health) and observed.anomalies (topic anomalies), key: area

``readings`` are the window's Columns, deduplicated; ``late`` the LateReadings since the last call.
``watch.excluded(sensor_key)`` tells which sensors to leave out of provisional results.

State to store: ``watch.dump()`` -> {area: bytes} at each closing, with the closing's progress;
``watch.dump_profile(areas)`` -> {area: bytes} every some minutes, some areas at a time. The same
state and input give the same events, with the same ids and versions: what a replay publishes
again is a repetition. Nothing here is thread-safe: one call at a time per watch.

Methods and formulas: docs/traffic.md, Sensor health.
"""

from __future__ import annotations

from streams.health.places import SensorPlaces
from streams.health.watch import LateReadings, Observed, SensorWatch

__all__ = ["LateReadings", "Observed", "SensorPlaces", "SensorWatch"]
