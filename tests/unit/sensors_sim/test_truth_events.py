"""The truth's incidents and span are on disk, whole, while the simulation still runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from civicstream.city import City
from sensors_sim.city_plan import plan_city
from sensors_sim.incidents import Incident
from sensors_sim.simulation import Simulation, SimulationPlan
from sensors_sim.truth import Truth

START = 1_795_248_000_000


@pytest.fixture(scope="module")
def city() -> City:
    return plan_city(200, 3)


def content(folder: Path, name: str) -> Any:
    return msgspec.json.decode((folder / name).read_bytes())


def test_an_incident_is_on_disk_as_soon_as_it_has_begun(city: City, tmp_path: Path) -> None:
    simulation = Simulation(city, SimulationPlan(incidents_per_hour=400, kinds=("traffic",)), START)
    truth = Truth(city, tmp_path)
    counts = []
    for block in simulation.blocks():
        truth.happened(START, block.end_ms, simulation.incidents)
        found = content(tmp_path, "incidents.json")
        assert [i["id"] for i in found] == [i.id for i in simulation.incidents]
        assert content(tmp_path, "span.json") == {"start_ms": START, "end_ms": block.end_ms}
        counts.append(len(found))
        if counts[-1] >= 5:
            break
    assert counts[0] < counts[-1]


def test_an_incident_names_its_segment_area_and_corridor(city: City, tmp_path: Path) -> None:
    truth = Truth(city, tmp_path)
    truth.happened(START, START + 1, [Incident("i1", 4, START, START + 60_000, 0.5)])
    segment = city.segments[4]
    (found,) = content(tmp_path, "incidents.json")
    place = {"segment": segment.id, "area": segment.area, "corridor": segment.corridor}
    assert found.items() >= place.items()
    assert (found["start_ms"], found["end_ms"], found["severity"]) == (START, START + 60_000, 0.5)


def test_what_an_earlier_run_left_is_gone_before_the_first_block(
    city: City, tmp_path: Path
) -> None:
    Truth(city, tmp_path).happened(START, START + 1, [])
    Truth(city, tmp_path)
    assert not list(tmp_path.glob("*.json"))


def test_no_folder_means_no_files(city: City, tmp_path: Path) -> None:
    Truth(city, None).happened(START, START + 1, [])
    assert not list(tmp_path.iterdir())
