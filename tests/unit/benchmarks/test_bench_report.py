"""The page of results says on what machine, what was measured, and which goals were missed."""

from __future__ import annotations

from benchmarks.goals import Goal, Verdict
from benchmarks.machine import describe_machine
from benchmarks.report import goal_line, markdown, number, result_lines

RESULTS = {
    "streams": {
        "readings_per_s": 512_345,
        "peers": {"bytewax": 24_000, "quix_streams": 26_000},
        "ratio_to_best_peer": 12.5,
    },
    "memory": {
        "sizes": [
            {"sensors": 1_000, "peak_mb": 130, "readings_per_s": 90_000},
            {"sensors": 1_000_000, "peak_mb": 900, "readings_per_s": 400_000},
        ],
        "copies_of_open_readings": 1.0,
    },
    "e2e": {"error": "ServerUnavailable: up ended | early"},
}


def page() -> str:
    return markdown(RESULTS, machine={"processor": "Z80, 1 core"}, date="2026-11-21")


def test_the_page_names_machine_and_date() -> None:
    assert "| processor | Z80, 1 core |" in page()
    assert "on 2026-11-21" in page()


def test_a_goal_met_and_a_goal_missed_read_differently() -> None:
    lines = page().splitlines()
    met = next(line for line in lines if "readings/s of one worker" in line)
    missed = next(line for line in lines if "times the best of" in line)
    assert met.endswith("| 512,345 | met |")
    assert missed.endswith("| 12.5 | **missed** |")


def test_peers_and_lists_have_their_own_lines() -> None:
    assert "| peers: bytewax | 24,000 |" in page()
    assert "| sensors | peak_mb | readings_per_s |" in page()
    assert "| 1,000,000 | 900 | 400,000 |" in page()


def test_a_bench_that_failed_is_on_the_page_with_its_error() -> None:
    assert "| error | ServerUnavailable: up ended \\| early |" in page()
    assert "| e2e | >= 5,000 readings/s held without growing lag | not measured | **missed** |" in (
        page()
    )


def test_every_line_of_a_table_has_the_same_cells() -> None:
    table: list[str] = []
    for line in [*page().splitlines(), ""]:
        if line.startswith("|"):
            table.append(line)
        elif table:
            assert len({row.replace("\\|", "").count("|") for row in table}) == 1, table
            table.clear()


def test_terminal_lines_flatten_peers_and_sizes() -> None:
    lines = result_lines(RESULTS["streams"])
    assert "readings_per_s: 512,345" in lines
    assert "peers.bytewax: 24,000" in lines
    assert result_lines(RESULTS["memory"])[0] == (
        "sizes: sensors 1,000, peak_mb 130, readings_per_s 90,000"
    )


def test_a_goal_line_says_by_how_much() -> None:
    goal = Goal("streams", "readings_per_s", ">=", 400_000, "readings/s")
    assert goal_line(Verdict(goal, 300_000)) == (
        "goal readings_per_s >= 400,000: MISSED with 300,000 (75% of it)"
    )


def test_numbers_read_as_people_read_them() -> None:
    assert [number(v) for v in (1_234_567, 12.345, 0.01234, None, "yes")] == [
        "1,234,567",
        "12.3",
        "0.0123",
        "not measured",
        "yes",
    ]


def test_the_machine_tells_processor_memory_and_versions() -> None:
    machine = describe_machine()
    assert "cores" in machine["processor"]
    assert machine["memory"].endswith("GiB")
    assert "faust-streaming 0." in machine["libraries"]
    assert "Apache Kafka" in machine["servers"]
