"""The live table on small and large terminals."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from civicstream.embedded.status import LiveView, PlainView, Row
from civicstream.embedded.supervisor import PartState

ROWS: list[tuple[Row, PartState]] = [
    (("gateway", "ready", "501 readings/s", "81,124 received, 67 in flight", "2"), PartState.READY),
    (
        ("worker", "waiting", "0 readings/s", "162 windows closed " * 4, ""),
        PartState.WAITING,
    ),
]


def _everything_shown(height: int, events: int) -> str:
    out = io.StringIO()
    console = Console(
        file=out,
        force_terminal=True,
        color_system=None,
        width=80,
        height=height,
        legacy_windows=False,
    )
    with LiveView(console) as view:
        view.explain(["results   civicstream tail results.traffic -c [data]/civicstream.toml"])
        view.show(ROWS)
        for number in range(events):
            view.tell(f"event {number} " + "x" * 200)
    return out.getvalue()


def _last_screen(height: int, events: int) -> list[str]:
    # rich moves up and erases before it draws; what follows the last erasure is the screen
    return _everything_shown(height, events).rpartition("\x1b[2K")[2].splitlines()


@pytest.mark.parametrize("height", [24, 40])
def test_the_newest_event_is_on_the_screen_whatever_its_height(height: int) -> None:
    screen = _last_screen(height, events=60)
    assert len(screen) <= height
    text = "\n".join(screen)
    assert "event 59 " in text
    assert "event 20 " not in text
    for shown in ("gateway", "501 readings/s", "waiting"):
        assert shown in text


def test_what_stays_true_is_said_above_the_table_in_full() -> None:
    assert "-c [data]/civicstream.toml" in _everything_shown(24, events=3)


def test_more_room_shows_more_events() -> None:
    def count(height: int) -> int:
        return sum(" event " in line for line in _last_screen(height, events=60))

    assert count(40) - count(24) == 16


def test_a_reader_that_went_away_does_not_stop_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Gone())
    with PlainView() as view:
        view.tell("still running")
        view.show(ROWS, last=True)
