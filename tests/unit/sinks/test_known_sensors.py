"""The table of newest times agrees with a dictionary."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sinks.known_sensors import NEVER, KnownSensors

steps = st.lists(st.dictionaries(st.integers(-20, 20), st.integers(0, 100), max_size=8), max_size=8)


@given(steps)
def test_newest_time_is_that_of_a_dictionary(batches: list[dict[int, int]]) -> None:
    known, wanted = KnownSensors(), dict[int, int]()
    everything = np.arange(-20, 21)
    for batch in batches:
        keys = np.array(sorted(batch), np.int64)
        new = known.unknown(keys)
        assert new.tolist() == [k for k in sorted(batch) if k not in wanted]
        known.learn(new[::-1], np.full(len(new), NEVER))
        known.advance(keys, np.array([batch[k] for k in sorted(batch)], np.int64))
        for key, ts in batch.items():
            wanted[key] = max(ts, wanted.get(key, NEVER))
        assert known.newest(everything).tolist() == [
            wanted.get(k, NEVER) for k in everything.tolist()
        ]
