"""Alerts on a real Prometheus Alertmanager: active as long as they are, then resolved."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from civicstream.clock import now_ms
from civicstream.settings import KafkaSettings
from stack.servers.processes import Child, free_port, port_answers, wait_until
from tests.kit.deliver_runs import delivering, life_of, send_alerts, web_server

PROGRAM = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="prometheus-alertmanager is not installed; run tests/servers.sh"
)


@contextmanager
def alertmanager(folder: Path, webhook: str) -> Iterator[str]:
    """Yield the address of a running Alertmanager that tells ``webhook``."""
    port = free_port()
    config = folder / "alertmanager.yml"
    config.write_text(
        "route: {receiver: test, group_wait: 0s, group_interval: 1s, group_by: ['...']}\n"
        f"receivers: [{{name: test, webhook_configs: [{{url: '{webhook}'}}]}}]\n"
    )
    assert PROGRAM is not None
    arguments = [
        PROGRAM,
        f"--config.file={config}",
        f"--storage.path={folder / 'am'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    child = Child("alertmanager", arguments, folder / "alertmanager.log")
    try:
        child.wait_ready(lambda: port_answers(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        child.stop()


def _active(url: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{url}/api/v2/alerts", params={"active": "true"}, trust_env=False)
    found: list[dict[str, Any]] = answer.json()
    return found


def test_alertmanager_has_an_alert_while_it_is_active_also_past_its_own_patience_and_a_restart(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    life = life_of("l1", description="Two lanes are closed.")
    worse = msgspec.structs.replace(life[1], version=3, change="updated", severity="extreme")
    ended = msgspec.structs.replace(life[2], version=4, severity="extreme")
    with web_server() as told, alertmanager(tmp_path, told.url) as url:
        receivers = [
            {
                "name": "prometheus",
                "type": "alertmanager",
                "url": url,
                "resend_s": 0.5,
                "resolve_after_s": 2,
                "labels": {"team": "traffic"},
            }
        ]
        with delivering(kafka, tmp_path, receivers):
            send_alerts(kafka, life[0])
            wait_until(lambda: len(_active(url)) == 1, "the alert", timeout_s=20)
            (found,) = _active(url)
            assert found["labels"] == {
                "alertname": "queue",
                "rule": "queue",
                "severity": "severe",
                "area": "north",
                "subject": "segment/s2",
                "team": "traffic",
            }
            assert found["annotations"]["summary"] == "Queue on Long Road"
            assert found["generatorURL"] == "http://127.0.0.1:8311/?alert=l1"
        with delivering(kafka, tmp_path, receivers):  # knows what is active from Kafka
            wait_until(lambda: len(_active(url)) == 1, "the alert again", timeout_s=20)
            until = now_ms() + 3_000  # longer than Alertmanager waits by itself
            wait_until(lambda: now_ms() > until or not _active(url), "some time", timeout_s=10)
            assert len(_active(url)) == 1
            send_alerts(kafka, worse)
            severities = [["extreme"]]
            wait_until(
                lambda: [[a["labels"]["severity"]] for a in _active(url)] == severities,
                "the severer one alone",
                timeout_s=20,
            )
            send_alerts(kafka, ended)
            wait_until(lambda: not _active(url), "the end", timeout_s=1.9)

            def resolved() -> bool:
                return any(
                    a["status"] == "resolved" and a["labels"]["severity"] == "extreme"
                    for r in told.requests
                    for a in msgspec.json.decode(r.body)["alerts"]
                )

            wait_until(resolved, "Alertmanager telling of the end", timeout_s=20)
