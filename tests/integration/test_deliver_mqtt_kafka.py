"""Alerts over MQTT, retained while they are active, and on another topic of Kafka."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec
from kafka import TopicPartition
from kafka.admin import NewTopic

from civicstream.events import Alert
from civicstream.kafka.clients import admin_client, consumer
from civicstream.settings import KafkaSettings, MqttSettings
from stack.servers.processes import wait_until
from tests.kit.deliver_runs import delivering, ledger_reports, life_of, send_alerts
from tests.kit.mqtt_reader import MqttReader
from tests.kit.servers import TcpProxy
from tests.kit.sink_events import alert


def test_alerts_lie_retained_on_mqtt_while_they_are_active(
    kafka: KafkaSettings, mosquitto: MqttSettings, tmp_path: Path
) -> None:
    receivers = [{"name": "broker", "type": "mqtt"}]
    life = life_of("l1")
    with (
        MqttReader(mosquitto, "city/v1/alert/#") as during,
        delivering(kafka, tmp_path, receivers, mqtt__port=mosquitto.port),
    ):
        send_alerts(kafka, *life[:2], alert(id="odd/+#%id", area="old town"))
        during.wait_for(3)
        assert [(t, msgspec.json.decode(p, type=Alert)) for t, p in during.received[:2]] == [
            ("city/v1/alert/north/l1", life[0]),
            ("city/v1/alert/north/l1", life[1]),
        ]
        assert during.received[2][0] == "city/v1/alert/old town/odd%2F%2B%23%25id"
        with MqttReader(mosquitto, "city/v1/alert/#") as late:  # only what is retained
            late.wait_for(2)
            assert sorted(msgspec.json.decode(p)["version"] for _, p in late.received) == [1, 2]
        send_alerts(kafka, life[2])
        during.wait_for(4)
        assert during.received[3] == ("city/v1/alert/north/l1", b"")
        with MqttReader(mosquitto, "city/v1/alert/#") as later:
            later.wait_for(1)
            assert [t for t, _ in later.received] == ["city/v1/alert/old town/odd%2F%2B%23%25id"]


def test_what_could_not_be_published_is_when_the_broker_is_back(
    kafka: KafkaSettings, mosquitto: MqttSettings, tmp_path: Path, tcp_proxy: type[TcpProxy]
) -> None:
    link = tcp_proxy(mosquitto.port)
    declared = {"name": "broker", "type": "mqtt", "host": "127.0.0.1", "port": link.port}
    with (
        MqttReader(mosquitto, "city/v1/alert/#") as reader,
        delivering(kafka, tmp_path, [{**declared, "timeout_s": 1}]),
    ):
        send_alerts(kafka, alert(id="l1"))
        reader.wait_for(1)
        link.cut()
        send_alerts(kafka, alert(id="l2"), alert(id="l3"))

        def waiting() -> bool:
            return ledger_reports(kafka)[-1].gauges["broker.waiting_s"] > 0

        wait_until(waiting, "the delivery to notice", timeout_s=15, every_s=1)
        link.restore()
        reader.wait_for(3)
        assert [t.rpartition("/")[2] for t, _ in reader.received[:3]] == ["l1", "l2", "l3"]


def test_alerts_go_to_another_topic_with_cloudevents_headers(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    with contextlib.closing(admin_client(kafka)) as admin:
        admin.create_topics([NewTopic("their.alerts", 1, 1)])
    receivers = [
        {
            "name": "theirs",
            "type": "kafka",
            "topic": "their.alerts",
            "bootstrap": kafka.bootstrap,
            "areas": ["north"],
        }
    ]
    life = life_of("l1")
    place = TopicPartition("their.alerts", 0)
    with delivering(kafka, tmp_path, receivers):
        send_alerts(kafka, alert(id="elsewhere", area="south"), *life)
        found = []
        with contextlib.closing(consumer(kafka, group_id=None)) as reader:
            reader.assign([place])
            reader.seek_to_beginning(place)

            def all_there() -> bool:
                found.extend(reader.poll(timeout_ms=100).get(place, []))
                return len(found) >= 3

            wait_until(all_there, "three records", timeout_s=20)
    assert [msgspec.json.decode(r.value, type=Alert) for r in found] == life
    headers = dict(found[1].headers)
    assert headers["ce_type"] == b"org.civicstream.alert"
    assert (headers["ce_id"], headers["ce_source"]) == (b"l1/2", b"deliver/d1")
    assert (headers["ce_subject"], found[1].key) == (b"segment/s2", b"north")
