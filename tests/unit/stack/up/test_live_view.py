"""The events and the line of figures of `up`, on a terminal and in a file."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from stack.up.status import LiveView, PlainView

LINE = "501 readings/s in | 498 computed | 502 rows/s, lag 4"
COMMAND = "mosquitto_pub -h 127.0.0.1 -p 41873 -q 1 -t city/v1/noise/[d0]/a -m " + "x" * 60


def _shown(events: int) -> str:
    out = io.StringIO()
    console = Console(
        file=out,
        force_terminal=True,
        color_system=None,
        width=80,
        height=24,
        legacy_windows=False,
    )
    with LiveView(console) as view:
        view.explain([COMMAND])
        for number in range(events):
            view.log(f"event {number}")
            view.show(f"{number} {LINE}")
    return out.getvalue()


def test_events_scroll_by_and_the_line_of_figures_is_rewritten_below_them() -> None:
    shown = _shown(events=60)
    assert all(f"event {number}" in shown for number in range(60))
    last_drawn = shown.rpartition("\x1b[2K")[2]
    assert f"59 {LINE}" in last_drawn
    assert last_drawn.count("\n") <= 1  # one line, however many events


def test_a_command_to_copy_is_not_broken_to_the_terminals_width() -> None:
    assert COMMAND in _shown(events=1)


def test_a_file_gets_every_event_and_the_figures_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    with PlainView() as view:
        for number in range(20):
            view.log(f"event {number}")
            view.show(LINE)
        view.show("the last " + LINE, last=True)
    lines = out.getvalue().splitlines()
    assert sum("event" in line for line in lines) == 20
    assert [line[9:] for line in lines if "readings/s" in line] == [LINE, "the last " + LINE]


def test_a_reader_that_went_away_does_not_stop_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Gone())
    with PlainView() as view:
        view.log("still running")
        view.show(LINE, last=True)
