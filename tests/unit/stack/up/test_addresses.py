"""Addresses and settings that `civicstream up` derives from its options."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from civicstream.errors import ConfigurationError
from civicstream.settings import load_settings
from stack.data_folder import DataFolder
from stack.up.addresses import choose_addresses
from stack.up.options import StackOptions
from stack.up.part_settings import (
    connection_sections,
    kafka_settings,
    part_environment,
    replay_sections,
    stack_sections,
)
from stack.up.parts import Stack

DATA = Path("/data")


def test_ports_are_free_ones_or_the_given_and_addresses_win() -> None:
    options = StackOptions(DATA, kafka_port=9999, mqtt="broker.city:8883")
    addresses = choose_addresses(options)
    assert (addresses.mqtt_host, addresses.mqtt_port) == ("broker.city", 8883)
    assert addresses.kafka == "127.0.0.1:9999"
    assert addresses.database is None
    assert addresses.database_port not in (0, 9999)


@pytest.mark.parametrize("address", ["broker", ":1883", "broker:", "broker:mqtt", "broker:70000"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match="expected HOST:PORT"):
        choose_addresses(StackOptions(DATA, mqtt=address))


def test_a_database_that_is_no_url_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigurationError) as caught:
        choose_addresses(StackOptions(DATA, database="host=db password=hunter2"))
    assert "hunter2" not in str(caught.value)


def test_two_servers_on_one_port_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="each server needs its own"):
        choose_addresses(StackOptions(DATA, kafka_port=5000, mqtt_port=5000))


def test_a_port_in_use_is_refused_before_anything_starts_and_named_as_it_was_given() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"--http-port {port}: another program"):
            choose_addresses(StackOptions(DATA, http_port=port))
        with pytest.raises(ConfigurationError, match=rf"--kafka-port {port}: another program"):
            choose_addresses(StackOptions(DATA, kafka_port=port))
        choose_addresses(StackOptions(DATA, kafka_port=port, kafka="kafka.city:9092"))


def test_parts_are_told_the_stacks_servers_over_the_callers_own() -> None:
    options = StackOptions(DATA, config=Path("my.toml"))
    addresses = choose_addresses(options)
    sections = stack_sections(
        load_settings(None, {}), options, addresses, "postgresql://w@h/d", DATA, DATA / "c.geojson"
    )
    own = {
        "PATH": "/bin",
        "CIVICSTREAM_KAFKA__BOOTSTRAP": "elsewhere:9092",
        "CIVICSTREAM_MQTT__TLS": "true",
        "CIVICSTREAM_WINDOWS__SIZE_S": "10",
    }
    environment = part_environment(sections, None, own)
    settings = load_settings(None, environment)
    assert settings.kafka.bootstrap == addresses.kafka
    assert settings.mqtt.port == addresses.mqtt_port
    assert settings.mqtt.tls is False
    assert settings.windows.size_s == 10
    assert settings.database.url.get_secret_value() == "postgresql://w@h/d"
    assert environment["PATH"] == "/bin"


def test_an_embedded_kafka_has_few_partitions_unless_told_otherwise() -> None:
    options = StackOptions(DATA)
    for environment, expected in (({}, 4), ({"CIVICSTREAM_KAFKA__PARTITIONS": "16"}, 16)):
        own = load_settings(None, environment)
        sections = stack_sections(own, options, choose_addresses(options), "u", DATA, DATA)
        assert kafka_settings(own, sections).partitions == expected


def test_an_external_kafka_keeps_the_callers_security() -> None:
    own = load_settings(None, {"CIVICSTREAM_KAFKA__SECURITY_PROTOCOL": "SSL"})
    options = StackOptions(DATA, kafka="kafka.city:9093")
    sections = stack_sections(own, options, choose_addresses(options), "u", DATA, DATA)
    kafka = kafka_settings(own, sections)
    assert (kafka.bootstrap, kafka.security_protocol) == ("kafka.city:9093", "SSL")


def test_the_connection_file_carries_the_callers_own_settings_too() -> None:
    own = load_settings(
        None,
        {
            "CIVICSTREAM_KAFKA__TOPIC_PREFIX": "town",
            "CIVICSTREAM_MQTT__PASSWORD": "hunter2",
            "CIVICSTREAM_WINDOWS__LATENESS_S": "2.5",
        },
    )
    options = StackOptions(DATA)
    sections = stack_sections(own, options, choose_addresses(options), "u", DATA, DATA)
    merged = connection_sections(own, sections)
    assert merged["kafka"]["topic_prefix"] == "town"
    assert merged["kafka"]["bootstrap"] == sections["kafka"]["bootstrap"]
    assert merged["mqtt"]["password"] == "hunter2"
    assert merged["windows"] == {"lateness_s": 2.5}


def _part_names(folder: Path, **options: object) -> list[str]:
    with DataFolder(folder / "data") as data:
        asked = StackOptions(data.path, **options)  # type: ignore[arg-type]
        stack = Stack(asked, load_settings(None, {}), choose_addresses(asked), data)
        return [part.name for part in stack.parts()]


def test_servers_start_first_and_the_simulator_last(tmp_path: Path) -> None:
    servers = ["database", "kafka", "mqtt"]
    ours = ["sink", "worker", "gateway", "feeds", "alerts", "deliver"]
    simulated = ["truth", "simulator"]
    assert _part_names(tmp_path) == [*servers, "city", "init", *ours, *simulated]


def test_a_server_given_as_an_address_is_not_started(tmp_path: Path) -> None:
    names = _part_names(
        tmp_path,
        mqtt="m:1883",
        kafka="k:9092",
        database="postgresql://u@d/n",
        simulator=False,
    )
    assert names == ["init", "sink", "worker", "gateway", "feeds", "alerts", "deliver"]


def test_a_replay_has_windows_of_its_period_but_what_the_user_has_set_stays() -> None:
    wanted = replay_sections(load_settings(None, {}), 240, "Europe/Copenhagen", 300)
    assert wanted["windows"] == {"size_s": 300, "idle_s": 1_200}
    assert wanted["gateway"] == {"max_future_skew_s": 240}
    assert wanted["city"] == {"timezone": "Europe/Copenhagen"}
    assert wanted["intelligence"] == {"incidents": "none"}
    own = {
        "CIVICSTREAM_WINDOWS__SIZE_S": "60",
        "CIVICSTREAM_INTELLIGENCE__INCIDENTS": "queue_discharge",
    }
    kept = replay_sections(load_settings(None, own), 60, "Europe/Copenhagen", 300)
    assert kept["windows"] == {"idle_s": 600}
    assert kept["intelligence"] == {}
