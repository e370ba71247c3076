"""Is the sensor broken, or is the city unusual? The watch over one kind in one partition.

    watch = SensorWatch(kind, city, detector=AnomalyDetector())

``places=SensorPlaces(city, kind)``, made once per kind, may be shared by the watches of its
partitions; with a million sensors that saves each of them a second.

A life that follows another first restores each area's states, in any order of the areas::

    watch.restore(area, fast, profile)         # bytes or None; an older profile will do

Then, for each closed window, in order, before its results are calculated::

    observed = watch.observe(start, end, readings, area_names, late, now_ms)
    results from readings.take(~observed.excluded)
    publish observed.health (topic health) and observed.anomalies (topic anomalies), key: area

``readings`` are the window's Columns, deduplicated; ``late`` the LateReadings since the last call.
``watch.broken(sensor_key)`` says which sensors to leave out of provisional results.

State to store: ``watch.dump_all()`` -> {area: bytes} at each closing, with the closing's progress
(``watch.dump(area)`` is one of them, and ten times the work when done for each);
``watch.dump_profile(area)`` -> bytes every some minutes, some areas at a time. The same state and
input give the same events, with the same ids and versions: what a replay publishes again is a
repetition. Nothing here is thread-safe: one call at a time per watch.

Methods and formulas: docs/traffic.md, Sensor health.
"""

from __future__ import annotations

from streams.health.places import SensorPlaces
from streams.health.watch import Observed, SensorWatch

__all__ = ["Observed", "SensorPlaces", "SensorWatch"]
