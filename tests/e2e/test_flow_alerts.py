"""A part that hangs is an alert on a running stack, as soon as the page's header says so."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psutil
import pytest

from civicstream.clock import wall_ms
from civicstream.events import Alert
from civicstream.settings import load_settings
from stack.servers.processes import wait_until
from tests.e2e.up_process import UpProcess, running_up
from tests.kit.worker_runs import pause, read_topic

pytestmark = pytest.mark.slow

FLOW_RULES = {"part-silent", "part-behind", "nothing-stored", "no-fresh-results"}
RAISED_WITHIN_S = 45
"""30 s without a sign, some seconds for the last of it, and a busy machine."""


class Watched:
    """The alerts about the readings' way, with the times at which Kafka had them [ms]."""

    def __init__(self, up: UpProcess, data: Path) -> None:
        self._kafka = load_settings(data / "civicstream.toml").kafka
        self._supervisor = psutil.Process(up.process.pid)

    def alerts(self) -> list[tuple[int, Alert]]:
        found = [
            (record.timestamp, msgspec.json.decode(record.value, type=Alert))
            for record in read_topic(self._kafka, "alerts")
        ]
        return [(at, alert) for at, alert in found if alert.rule in FLOW_RULES]

    def raised(self, rule: str, part: str) -> int | None:
        """Return when Kafka had the alert of the rule, about the part or the city."""
        for at, alert in self.alerts():
            about = alert.subject == "city" or alert.subject.startswith(f"process/{part}/")
            if (alert.rule, alert.change) == (rule, "raised") and about:
                return at
        return None

    def active(self) -> set[str]:
        newest = {alert.id: alert for _, alert in self.alerts()}
        return {alert.rule for alert in newest.values() if alert.state != "cleared"}

    @contextmanager
    def hanging(self, part: str) -> Iterator[int]:
        """It stands still; yield since when [ms]."""
        process = next(c for c in self._supervisor.children() if part in c.cmdline())
        process.send_signal(signal.SIGSTOP)
        try:
            yield wall_ms()
        finally:
            process.send_signal(signal.SIGCONT)


@pytest.mark.timeout(400)
def test_a_hanging_worker_and_sink_are_alerts_within_half_a_minute_and_a_start_is_none() -> None:
    """The city's clock is that of the demo, hours behind the machine's."""
    with (
        tempfile.TemporaryDirectory(prefix="civicstream-") as folder,
        running_up(Path(folder), "--sensors", "100", "--rate", "50") as up,
    ):
        up.wait_for("logs      ", 150)
        watched = Watched(up, Path(folder) / "data")
        pause(30)  # long enough for an alert of the start to come
        assert watched.alerts() == []
        for part, silent in (("worker", "no-fresh-results"), ("sink", "nothing-stored")):
            with watched.hanging(part) as since:
                rules = ("part-silent", silent)
                wait_until(
                    lambda rules=rules, part=part: all(watched.raised(r, part) for r in rules),  # type: ignore[misc]
                    f"alerts {rules} about the {part}",
                    timeout_s=60,
                    every_s=0.5,
                )
            took = {rule: ((watched.raised(rule, part) or 0) - since) / 1000 for rule in rules}
            print(f"{part} hangs: {took}")  # noqa: T201
            assert all(25 < s < RAISED_WITHIN_S for s in took.values())
            wait_until(lambda: not watched.active(), "all cleared", timeout_s=60, every_s=0.5)
