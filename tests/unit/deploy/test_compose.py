"""The production shape holds together: every name, command, file and secret in it is real."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from civicstream.kafka.rights import MECHANISM, RIGHTS
from civicstream.settings import environment_names
from stack.cli import command_tree

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(n for n, s in SERVICES.items() if str(s.get("image", "")).startswith("civicstream"))
ONCE = {"init", "forget"}
"""Services that do one thing and end."""
COMMANDS = set(command_tree().commands)


def installed_packages() -> set[str]:
    """Return the top-level packages that the wheel holds, as pyproject.toml says."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    include = project["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = {p.parent.name for p in ROOT.glob("*/__init__.py")}
    return {p for p in packages if any(fnmatch(p, pattern) for pattern in include)}


def test_the_wheel_holds_every_part_and_neither_tests_nor_benches() -> None:
    packages = {p.parent.name for p in ROOT.glob("*/__init__.py")}
    assert installed_packages() == packages - {"tests", "benchmarks"}


def _targets(service: dict[str, Any]) -> dict[str, str]:
    """Secret file name inside the container -> name of the secret."""
    pairs = [s if isinstance(s, dict) else {"source": s, "target": s} for s in service["secrets"]]
    return {pair["target"]: pair["source"] for pair in pairs}


def test_the_services_of_the_design_are_there() -> None:
    parts = {"alerts", "deliver", "feeds", "gateway", "init", "sink", "worker"}
    assert set(OURS) >= parts
    assert SERVICES["forget"]["profiles"] == ["tools"], "only when somebody asks for it"
    assert set(SERVICES) - set(OURS) == {"mqtt", "kafka", "database"}


@pytest.mark.parametrize("name", OURS)
def test_every_environment_variable_is_a_setting(name: str) -> None:
    environment = SERVICES[name]["environment"]
    assert set(environment) <= environment_names()
    secrets = {t.upper() for t in _targets(SERVICES[name]) if t.startswith("civicstream_")}
    assert secrets <= environment_names()


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_a_real_one(name: str) -> None:
    service = SERVICES[name]
    assert (service.get("entrypoint", ["civicstream"]) + service["command"])[1] in COMMANDS
    if name not in ONCE:
        health = SERVICES[name]["healthcheck"]["test"]
        assert health == ["CMD", "civicstream", "health", name]
        assert "health" in COMMANDS


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned_and_everything_long_lived_is_checked(name: str) -> None:
    service = SERVICES[name]
    assert re.search(r":\d+\.\d+(\.\d+)?(-pg17)?$", service["image"])
    assert name in ONCE or "healthcheck" in service
    for other in service.get("depends_on", {}):
        assert other in SERVICES


@pytest.mark.parametrize("name", SERVICES)
def test_passwords_come_from_secret_files_only(name: str) -> None:
    service = SERVICES[name]
    assert set(_targets(service).values()) <= set(COMPOSE["secrets"])
    for variable, value in service.get("environment", {}).items():
        is_secret = re.search("PASSWORD|URL|TOKEN|KEY", variable)
        assert not is_secret or variable.endswith(("_FILE", "_DIR")), (variable, value)


def test_only_who_writes_to_citizens_can_open_what_is_sealed() -> None:
    holders = {n for n, s in SERVICES.items() if "privacy_private_key" in _targets(s).values()}
    assert holders == {"deliver"}
    for name in ("gateway", "feeds"):
        assert _targets(SERVICES[name])["civicstream_privacy__public_key"] == "privacy_public_key"


def test_each_part_has_its_own_account_on_kafka_and_no_other_part_s_password() -> None:
    for name in OURS:
        given = _targets(SERVICES[name]).values()
        held = {secret for secret in given if re.fullmatch("kafka_.*_password", secret)}
        user = SERVICES[name]["environment"]["CIVICSTREAM_KAFKA__USERNAME"]
        if name == "init":  # it gives them to Kafka
            assert held == {f"kafka_{part}_password" for part in (*RIGHTS, "admin")}
            assert "--kafka-acls" in SERVICES[name]["command"]
        else:
            assert user == f"city.{name}"
            assert held == {f"kafka_{name}_password"}


def test_only_who_must_gets_at_personal_data() -> None:
    holders = {n for n, s in SERVICES.items() if "database_private_url" in _targets(s).values()}
    assert "forget" in holders
    assert holders <= {"forget", "deliver"}
    init = _targets(SERVICES["init"])
    assert init["civicstream_database__private_password"] == "database_private_password"


def test_secrets_are_files_that_the_generator_makes_and_git_ignores() -> None:
    generator = (ROOT / "deploy" / "make_secrets.py").read_text()
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"deploy/secrets/{name}"}
        stem, _, ending = name.partition(".")
        # "<server>.crt" and "<server>.key" are made in a loop over the servers' names
        assert f'"{name}"' in generator or (f'"{stem}"' in generator and ending in {"crt", "key"})
    assert "/deploy/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_only_the_two_fronts_are_published_and_on_loopback_unless_configured() -> None:
    published = {n: s["ports"] for n, s in SERVICES.items() if "ports" in s}
    assert published == {
        "mqtt": ["${MQTT_BIND:-127.0.0.1}:8883:8883"],
        "feeds": ["${HTTP_BIND:-127.0.0.1}:8311:8311"],
    }
    assert COMPOSE["networks"]["inside"]["internal"] is True
    outside = [n for n, s in SERVICES.items() if s["networks"] != ["inside"]]
    assert sorted(outside) == ["deliver", "feeds", "mqtt"]


def test_the_city_must_be_given() -> None:
    assert ":?" in COMPOSE["x-city"]["source"]


@pytest.mark.parametrize("name", SERVICES)
def test_mounted_files_and_volumes_exist(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        if isinstance(volume, str):
            source = volume.split(":")[0]
            assert (ROOT / source).is_dir() if source[0] == "." else source in COMPOSE["volumes"]


def test_kafka_is_reached_where_it_listens() -> None:
    text = (ROOT / "deploy" / "kafka" / "server.properties").read_text()
    lines = (x for x in text.splitlines() if x and not x.startswith("#"))
    properties = dict(line.split("=", 1) for line in lines)
    assert properties["advertised.listeners"] == "CLIENT://@HOST@:@PORT@"
    entrypoint = (ROOT / "deploy" / "kafka" / "entrypoint.sh").read_text()
    assert "${ADVERTISED_HOST:-kafka}" in entrypoint
    assert "${PORT:-9092}" in entrypoint
    listeners = dict(x.split("://") for x in properties["listeners"].split(","))
    protocols = dict(x.split(":") for x in properties["listener.security.protocol.map"].split(","))
    assert set(listeners) == set(protocols)
    assert properties["inter.broker.listener.name"] in listeners
    assert properties["controller.quorum.voters"] == f"1@{listeners['CONTROLLER']}"
    for name in OURS:
        environment = SERVICES[name]["environment"]
        assert environment["CIVICSTREAM_KAFKA__BOOTSTRAP"] == "kafka:9092"
        assert environment["CIVICSTREAM_KAFKA__SECURITY_PROTOCOL"] == protocols["CLIENT"]
        mechanism = environment["CIVICSTREAM_KAFKA__SASL_MECHANISM"]
        assert mechanism in properties["sasl.enabled.mechanisms"].split(",")
        assert mechanism == ("PLAIN" if name == "init" else MECHANISM)
    assert properties["allow.everyone.if.no.acl.found"] == "false"
    assert properties["super.users"] == "User:broker;User:admin"
    assert properties["authorizer.class.name"].endswith(".StandardAuthorizer")


def test_the_image_runs_as_an_ordinary_user_with_the_pins() -> None:
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    (base,) = (x for x in lines if x.startswith("FROM "))
    assert re.fullmatch(r"FROM python:3\.\d+\.\d+-slim-\w+", base)
    (user,) = (x.split()[1] for x in lines if x.startswith("USER "))
    assert int(user) >= 1000
    assert any("--constraints /src/constraints.txt" in x for x in lines)
    copied = {x.split()[1] for x in lines if x.startswith("COPY ") for _ in [0]}
    packages = installed_packages()
    assert packages <= copied
    assert not copied & {"tests", "benchmarks"}, "only in a checkout"
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert all(f"!{package}" in allowed for package in packages)
