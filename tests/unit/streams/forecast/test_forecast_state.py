"""What a forecaster knows survives a restart, whole or in part; foreign bytes are refused."""

from __future__ import annotations

import numpy as np
import pytest

from civicstream.errors import DataError
from civicstream.events import TrafficForecast
from streams.forecast.network_forecaster import SHARED, NetworkForecaster
from streams.windows.network import RoadNetwork
from tests.kit.forecast_making import Floats, line_network, traffic, window

START = 1_772_323_200_000
LENGTH_S = 900
VALUES = traffic(5 * 96, 6)


def advance(forecaster: NetworkForecaster, rows: range) -> list[TrafficForecast]:
    """Give a window for each of ``rows``; return the last forecasts."""
    made = []
    for row in rows:
        speed = VALUES[row, : len(forecaster.network)]
        speed = np.pad(speed, (0, len(forecaster.network) - len(speed)), mode="edge")
        now = window(START + row * LENGTH_S * 1000, LENGTH_S * 1000, speed, 20 * speed)
        made = forecaster.step(now, START)
    return made


def means(forecasts: list[TrafficForecast]) -> Floats:
    return np.array(
        [[*r.speed_kmh, *r.speed_low_kmh, *r.flow_veh_h] for f in forecasts for r in f.segments],
        np.float64,
    )


@pytest.fixture(scope="module")
def trained() -> NetworkForecaster:
    forecaster = NetworkForecaster(line_network(6, areas=2), LENGTH_S)
    advance(forecaster, range(4 * 96 + 20))
    return forecaster


def restored(
    trained: NetworkForecaster, *, recent: bool = True, chunks: list[str] | None = None
) -> NetworkForecaster:
    fresh = NetworkForecaster(trained.network, LENGTH_S)
    for chunk in trained.chunks if chunks is None else chunks:
        fresh.restore_weights(trained.dump_weights(chunk))
    if recent:
        fresh.restore_recent(trained.dump_recent())
    return fresh


def test_a_restored_forecaster_goes_on_as_if_nothing_had_happened(
    trained: NetworkForecaster,
) -> None:
    again = restored(trained)
    now = range(4 * 96 + 19, 4 * 96 + 20)
    np.testing.assert_allclose(means(advance(again, now)), means(advance(trained, now)), rtol=2e-3)
    ahead = range(4 * 96 + 20, 4 * 96 + 30)
    both = restored(trained), restored(trained)
    first, second = (means(advance(f, ahead)) for f in both)
    np.testing.assert_array_equal(first, second)


def test_without_its_weights_a_forecaster_is_young_and_forecasts_no_change(
    trained: NetworkForecaster,
) -> None:
    row = 4 * 96 + 19
    made = advance(restored(trained, chunks=[]), range(row, row + 1))
    speed = np.array([r.speed_kmh for f in made for r in f.segments], np.float64)
    np.testing.assert_allclose(speed, np.repeat(VALUES[row][:, None], 4, axis=1), rtol=1e-4)


def test_without_recent_values_it_forecasts_again_from_the_first_window_on(
    trained: NetworkForecaster,
) -> None:
    fresh = restored(trained, recent=False)
    assert np.isfinite(means(advance(fresh, range(4 * 96 + 20, 4 * 96 + 22)))).all()


@pytest.mark.parametrize("kept", [[SHARED], ["a0/0"], ["a1/0", SHARED]])
def test_any_of_the_chunks_can_be_restored_alone(
    trained: NetworkForecaster, kept: list[str]
) -> None:
    fresh = restored(trained, chunks=kept)
    assert np.isfinite(means(advance(fresh, range(4 * 96 + 20, 4 * 96 + 24)))).all()


def test_a_network_that_has_grown_takes_up_what_is_known_of_its_old_segments(
    trained: NetworkForecaster,
) -> None:
    grown = NetworkForecaster(line_network(8, areas=1), LENGTH_S)
    for chunk in trained.chunks:
        grown.restore_weights(trained.dump_weights(chunk))
    grown.restore_recent(trained.dump_recent())
    row = range(4 * 96 + 19, 4 * 96 + 20)
    rows = grown.step(window(START, 1, *[np.full(8, np.nan)] * 2), START)
    assert rows == []  # the newest window is known
    made = means(advance(grown, row))
    np.testing.assert_allclose(made[:6], means(advance(trained, row)), rtol=2e-3)
    later = means(advance(grown, range(row.stop, row.stop + 3)))
    assert np.isfinite(later).all()


def test_equal_forecasters_dump_equal_bytes() -> None:
    pair = [NetworkForecaster(line_network(4), LENGTH_S) for _ in range(2)]
    for forecaster in pair:
        advance(forecaster, range(120))
    assert pair[0].dump_recent() == pair[1].dump_recent()
    for chunk in pair[0].chunks:
        assert pair[0].dump_weights(chunk) == pair[1].dump_weights(chunk)


def test_every_chunk_fits_a_kafka_record() -> None:
    network: RoadNetwork = line_network(150, areas=2)
    forecaster = NetworkForecaster(network, LENGTH_S)
    random = np.random.default_rng(1)
    for row in range(14 * 96):
        forecaster.measures["speed_kmh"].days.add(row, random.uniform(20, 100, 150))
        forecaster.measures["flow_veh_h"].days.add(row, random.uniform(0, 6000, 150))
    for series in forecaster.measures.values():
        series.shared.gram[:] = random.normal(size=series.shared.gram.shape)
        series.own.gram[:] = random.normal(size=series.own.gram.shape)
    assert forecaster.chunks == [SHARED, "a0/0", "a0/1", "a1/0", "a1/1"]
    assert max(len(forecaster.dump_weights(chunk)) for chunk in forecaster.chunks) < 900_000
    assert len(forecaster.dump_recent()) < 200 * 150 + 5_000


def test_bytes_of_something_else_are_refused_with_what_to_do(trained: NetworkForecaster) -> None:
    fresh = NetworkForecaster(trained.network, LENGTH_S)
    with pytest.raises(DataError, match=r"forecast state of 5 bytes does not decode.*learns anew"):
        fresh.restore_recent(b"hello")
    cut = trained.dump_weights(SHARED)[:-40]
    with pytest.raises(DataError, match="does not decode"):
        fresh.restore_weights(cut)
    with pytest.raises(DataError, match="missing"):
        fresh.restore_recent(trained.dump_weights("a0/0"))


def test_weights_for_other_leads_are_refused(trained: NetworkForecaster) -> None:
    other = NetworkForecaster(line_network(6, areas=2), LENGTH_S)
    data = trained.dump_weights("a0/0")
    for series in other.measures.values():
        series.own.gram = series.own.gram[:, 1:, 1:]
    with pytest.raises(DataError, match="of another version or of other settings"):
        other.restore_weights(data)
