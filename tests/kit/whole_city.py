"""Every part of a city as processes: what those beyond gateway, worker and sink need."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from civicstream.geojson import read_city
from civicstream.settings import KafkaSettings, MqttSettings
from feeds.api_keys import key_digest
from stack.servers.processes import free_port
from tests.kit.gateway_runs import publish
from tests.kit.privacy_keys import OPENING, SEALING
from tests.kit.system_runs import System

API_KEY = "an-api-key-for-tests"

_RULES = """\
[[rule]]
name = "fast"
source = "results.traffic"
field = "space_mean_speed_kmh"
above = 0
severity = "minor"
message = "{segment}"

[[rule]]
name = "warmer"
source = "results.environment"
field = "mean"
above = -1000
severity = "minor"
message = "{area}"
"""
_RECEIVERS = """\
[[receiver]]
name = "broker"
type = "mqtt"
"""


class WholeCity(System):
    """All parts; alerts of nearly everything, delivered to the MQTT broker."""

    def __init__(
        self,
        mqtt: MqttSettings,
        kafka: KafkaSettings,
        url: str,
        folder: Path,
        own: Mapping[str, Mapping[str, object]] | None = None,
    ) -> None:
        (folder / "rules.toml").write_text(_RULES)
        (folder / "receivers.toml").write_text(_RECEIVERS)
        self.mqtt = mqtt
        self.http_port = free_port()
        needed: dict[str, dict[str, object]] = {
            "gateway": dict(SEALING),
            "feeds": {
                **SEALING,
                "feeds__port": self.http_port,
                "feeds__id": "feeds-1",
                "feeds__api_keys": f"test-app:{key_digest(API_KEY)}",
            },
            "alerts": {"alerts__rules_file": folder / "rules.toml", "alerts__id": "alerts-1"},
            "deliver": {
                **OPENING,
                "deliver__receivers_file": folder / "receivers.toml",
                "deliver__id": "deliver-1",
            },
        }
        for part, settings in (own or {}).items():
            needed[part] = needed.get(part, {}) | dict(settings)
        super().__init__(mqtt, kafka, url, folder, needed)

    def report(self, **form: Any) -> str:
        """Send a report by Open311 and return its id.

        As the answer 503 asks for, it is sent again: a report has the same id however often.
        """
        outline = read_city(self.city_file).areas[0].outline[:-1]  # closed: the last is the first
        lon, lat = (sum(place) / len(outline) for place in zip(*outline, strict=True))
        sent = {"service_code": "pothole", "lat": lat, "long": lon, "description": "deep"}
        for _ in range(3):
            answer = httpx.post(
                f"http://127.0.0.1:{self.http_port}/open311/v2/requests.json",
                data=sent | {"api_key": API_KEY, "email": "ada@example.org"} | form,
                timeout=30,
                trust_env=False,
            )
            if answer.status_code != 503:
                break
        assert answer.status_code in {200, 201}, answer.text
        return str(answer.json()[0]["service_request_id"])

    def crew(self, **said: Any) -> None:
        """Say something as the crew crew-1."""
        topic = "city/v1/unit/north/crew-1"
        publish(self.mqtt, topic, json.dumps(said))

    def decide(self, path: str) -> None:
        """Decide something as an operator at the operations page; on loopback everybody is one."""
        answer = httpx.post(
            f"http://127.0.0.1:{self.http_port}/api/v1/{path}",
            json={"note": "seen"},
            timeout=30,
            trust_env=False,
        )
        assert answer.status_code == 202, answer.text
