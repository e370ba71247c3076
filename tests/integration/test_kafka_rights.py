"""The shipped Kafka with TLS, accounts and ACLs: each part may do what it must, and no more."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from kafka import TopicPartition
from kafka.admin import (
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePatternFilter,
    ResourceType,
)
from kafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailedError,
)

from civicstream.clock import now_ms
from civicstream.errors import ConfigurationError
from civicstream.kafka.clients import admin_client, consumer, producer
from civicstream.kafka.rights import (
    MECHANISM,
    RIGHTS,
    acls_of,
    grant_rights,
    password_file,
    topics_of,
)
from civicstream.kafka.topic_admin import create_topics, wait_for_topics
from civicstream.settings import MqttSettings, Settings
from civicstream.topics import TOPICS, topic_name
from stack.servers.processes import wait_until
from tests.kit.secured_kafka import SecuredKafka, secured_kafka
from tests.kit.system_runs import ALL_PARTS
from tests.kit.whole_city import WholeCity
from tests.kit.worker_runs import read_reports, read_topic

pytestmark = [
    pytest.mark.timeout(400),
    # kafka-python (3.0.12) leaves some TLS sockets to the garbage collector when a client closes.
    pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning"),
]

SENTINEL = b"personal data that only the sink may read"


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    with secured_kafka(tmp_path_factory.mktemp("kafka")) as started:
        create_topics(started.admin())
        grant_rights(Settings(kafka=started.admin()))
        sender = producer(started.of("feeds"))
        sender.send(topic_name("city", "private"), SENTINEL, key=b"someone").get(20)
        sender.close()
        yield started
        gc.collect()  # while the filter above holds


def _may(names: tuple[str, ...], topic: str) -> bool:
    return any(
        topic == name or (name.endswith("*") and topic.startswith(name[:-1])) for name in names
    )


def _read_denied(reader: Any, topic: str) -> bool:
    partition = TopicPartition(topic_name("city", topic), 0)
    reader.assign([partition])
    reader.seek(partition, 0)
    try:
        records = reader.poll(timeout_ms=150)
    except TopicAuthorizationFailedError:
        return True
    assert SENTINEL not in [r.value for found in records.values() for r in found]
    return False


def _visible(kafka: SecuredKafka, part: str, names: list[str]) -> list[str]:
    """Return the topics that Kafka shows to the part at all: it shows all that have any right."""
    admin = admin_client(kafka.of(part))
    shown = set(admin.list_topics())
    admin.close()
    expected = {topic_name("city", name) for name in topics_of(part)}
    assert shown == expected
    return [name for name in names if topic_name("city", name) in shown]


def _poll_on(reader: Any) -> None:
    for _ in range(100):
        reader.poll(timeout_ms=200)


@pytest.mark.parametrize("part", RIGHTS)
def test_what_is_not_declared_to_be_read_is_denied(kafka: SecuredKafka, part: str) -> None:
    forbidden = [name for name in TOPICS if not _may(RIGHTS[part].reads, name)]
    assert ("private" in forbidden) == (part != "sink")
    reader = consumer(kafka.of(part), group_id=None)
    try:
        for topic in _visible(kafka, part, forbidden):
            # A poll that ends before Kafka's answer shows nothing yet.
            assert any(_read_denied(reader, topic) for _ in range(40)), topic
    finally:
        reader.close()


@pytest.mark.parametrize("part", RIGHTS)
def test_what_is_not_declared_to_be_written_is_denied(kafka: SecuredKafka, part: str) -> None:
    forbidden = [name for name in TOPICS if not _may(RIGHTS[part].writes, name)]
    assert ("actions" in forbidden) == (part != "feeds"), "only the feeds write decisions"
    # An idempotent producer asks first for an id, which who may write nothing is denied already.
    sender = producer(kafka.of(part), max_block_ms=20_000, enable_idempotence=False)
    try:
        for topic in _visible(kafka, part, forbidden):
            with pytest.raises(TopicAuthorizationFailedError):
                sender.send(topic_name("city", topic), b"forged").get(20)
    finally:
        sender.close(timeout=1)


def test_the_sink_reads_what_the_feeds_have_put_beside_everybody_else(kafka: SecuredKafka) -> None:
    reader = consumer(kafka.of("sink"), group_id="city.civicstream-sink")
    reader.subscribe([topic_name("city", "private")])
    found: list[bytes] = []
    try:
        while not found:
            for records in reader.poll(timeout_ms=500).values():
                found += [record.value for record in records]
    finally:
        reader.close()
    assert found == [SENTINEL]


def test_nobody_enters_another_part_s_consumer_group_or_takes_its_transactions(
    kafka: SecuredKafka,
) -> None:
    reader = consumer(kafka.of("alerts"), group_id="city.civicstream-sink")
    reader.subscribe([topic_name("city", "alerts")])
    try:
        with pytest.raises(GroupAuthorizationFailedError):
            _poll_on(reader)
    finally:
        reader.close()
    sender = producer(kafka.of("gateway"), transactional_id="city.dispatch-0")
    try:
        with pytest.raises(TransactionalIdAuthorizationFailedError):
            sender.init_transactions()
    finally:
        sender.close(timeout=1)
    sender = producer(kafka.of("worker"), transactional_id="city.dispatch-0")
    sender.init_transactions()
    sender.begin_transaction()
    sender.send(topic_name("city", "cases"), b"{}").get(20)
    sender.abort_transaction()
    sender.close()


@pytest.mark.parametrize(
    ("user", "password_of"),
    [*itertools.pairwise([f"city.{part}" for part in RIGHTS]), ("city.stranger", "city.sink")],
)
def test_a_part_s_password_opens_nobody_else_s_account(
    kafka: SecuredKafka, user: str, password_of: str
) -> None:
    password = kafka.password(password_of.removeprefix("city."))
    with pytest.raises(KafkaError):
        admin_client(kafka.settings(user, password), bootstrap_timeout_ms=3_000)
    admin_client(kafka.settings(password_of, password), bootstrap_timeout_ms=20_000).close()


def test_parts_make_no_topics_and_give_no_rights(kafka: SecuredKafka) -> None:
    for part in RIGHTS:
        with pytest.raises(ConfigurationError):
            grant_rights(Settings(kafka=kafka.of(part)))
    with pytest.raises(ConfigurationError, match="may not describe topic"):
        wait_for_topics(kafka.of("gateway"), timeout_s=5)
    for part in RIGHTS:
        wait_for_topics(kafka.of(part), topics_of(part))


def _secured_city(
    kafka: SecuredKafka, mqtt: MqttSettings, url: str, folder: Path
) -> tuple[WholeCity, Path]:
    """Return a city of which each command has its own account, and the folder of passwords."""
    passwords = folder / "passwords"
    admin = kafka.admin().model_copy(update={"topic_prefix": "whole"})
    system = WholeCity(mqtt, admin, url, folder)
    common: dict[str, object] = {
        "kafka__security_protocol": "SASL_SSL",
        "kafka__sasl_mechanism": MECHANISM,
        "kafka__ca_file": kafka.secrets / "ca.crt",
        "kafka__passwords_dir": passwords,
        "windows__lateness_s": 2,
    }
    system.environment |= {f"CIVICSTREAM_{k.upper()}": str(v) for k, v in common.items()}
    as_admin = {"kafka__username": "admin", "kafka__sasl_mechanism": "PLAIN"}
    system.set("init", as_admin | {"kafka__password": kafka.password("admin")})
    return system, passwords


def test_every_part_does_its_work_with_its_own_account(
    kafka: SecuredKafka, mosquitto: MqttSettings, postgres: str, tmp_path: Path
) -> None:
    """One after the other, as Kafka keeps for each what those before it have made."""
    system, passwords = _secured_city(kafka, mosquitto, postgres, tmp_path)
    system.run("city", "--sensors", 60, "--seed", 5, "--out", system.city_file)
    printed = system.run("init", "--kafka-acls")
    secrets = {part: password_file(passwords, part).read_text() for part in RIGHTS}
    assert not [part for part, secret in secrets.items() if secret in printed]
    for command, part in {**{part: part for part in ALL_PARTS}, "ledger": "sink"}.items():
        account = {"kafka__username": f"whole.{part}", "kafka__password": secrets[part]}
        system.set(command, account)
    reader = kafka.settings("whole.reader", secrets["reader"])
    system.kafka = reader.model_copy(update={"topic_prefix": "whole"})
    try:
        _take_in(system)
        system.start("worker")
        _wait_for_records(system, "results.traffic", "results.environment", "cases")
        system.children.pop("worker").stop()
        for part in ("deliver", "alerts", "sink"):
            system.start(part)
        _wait_for_rows(postgres, "alerts", "readings_traffic", "results_environment", "cases")
        _wait_for_rows(postgres, "private.sealed_records", "citizen_reports", "units")
        (alert,) = _column(postgres, "SELECT id FROM alerts LIMIT 1")
        system.decide(f"alerts/{quote(alert)}/acknowledge")
        deciders = "SELECT DISTINCT by FROM actions"
        wait_until(lambda: len(_column(postgres, deciders)) == 2, "both actions", timeout_s=60)
        acknowledged = "SELECT 1 FROM alerts WHERE change = 'acknowledged'"
        wait_until(lambda: bool(_column(postgres, acknowledged)), "its answer", timeout_s=60)
        _wait_for_delivery(system)
    finally:
        for child in system.children.values():
            child.stop()
    for log in tmp_path.glob("*.log"):
        assert "uthorization" not in log.read_text(), log


def _take_in(system: WholeCity) -> None:
    """Bring a report, a crew's state and action, and readings to Kafka by gateway and feeds."""
    for part in ("gateway", "feeds"):
        system.start(part)
    system.report()
    state = {"state": "available", "lon": 13.4, "lat": 52.5, "skills": ["road"]}
    system.crew(ts=now_ms(), **state, shift_end=now_ms() + 3_600_000, capacity=1, load=0)
    system.crew(ts=now_ms(), action="done", task="case/none")
    simulator = system.launch(
        "simulate",
        "simulate",
        "--city",
        system.city_file,
        "--kinds",
        "traffic,weather",
        "--rate",
        40,
        "--duration",
        15,
    )
    wait_until(lambda: not simulator.alive(), "the simulator's end", timeout_s=60)
    assert simulator.returncode == 0, simulator.last_words(20)
    _wait_for_records(system, "reports", "units", "crew_actions", "frames.traffic")
    system.children.pop("gateway").stop()


def _wait_for_records(system: WholeCity, *topics: str) -> None:
    for topic in topics:
        wait_until(
            lambda topic=topic: bool(read_topic(system.kafka, topic)),  # type: ignore[misc]
            f"records on {topic}",
            timeout_s=60,
            every_s=0.5,
        )


def _wait_for_delivery(system: WholeCity) -> None:
    def delivered() -> bool:
        reports = read_reports(system.kafka, "deliver")
        return bool(reports) and reports[-1].gauges.get("broker.delivered", 0) > 0

    wait_until(delivered, "an alert delivered", timeout_s=60, every_s=0.5)


def _column(url: str, query: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute(query).fetchall()]


def _wait_for_rows(url: str, *tables: str) -> None:
    for table in tables:
        wait_until(
            lambda table=table: bool(_column(url, f"SELECT 1 FROM {table} LIMIT 1")),  # type: ignore[misc]
            f"rows in {table}",
            timeout_s=60,
            every_s=0.3,
        )


def test_rights_are_exactly_those_declared_also_after_a_change(kafka: SecuredKafka) -> None:
    settings = Settings(kafka=kafka.admin())
    admin = admin_client(kafka.admin())
    anything = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY)

    def held(part: str) -> set[Any]:
        who = f"User:city.{part}"
        any_of = ACLFilter(who, None, ACLOperation.ANY, ACLPermissionType.ANY, anything)
        return set(admin.describe_acls(any_of)[0])

    try:
        surplus = next(iter(acls_of(settings, "sink") - acls_of(settings, "gateway")))
        surplus.principal = "User:city.gateway"
        admin.create_acls([surplus])
        assert surplus in held("gateway")
        grant_rights(settings)
        for part in RIGHTS:
            assert held(part) == acls_of(settings, part), part
    finally:
        admin.close()


def test_passwords_that_are_missing_are_made_for_our_own_user_only(
    kafka: SecuredKafka, tmp_path: Path
) -> None:
    folder = tmp_path / "made" / "passwords"
    prefix = {"topic_prefix": "other", "passwords_dir": folder}
    accounts = grant_rights(Settings(kafka=kafka.admin().model_copy(update=prefix)))
    assert set(accounts) == {f"other.{part}" for part in RIGHTS}
    files = list(folder.iterdir())
    assert len({file.read_text() for file in files}) == len(RIGHTS)
    assert all(file.stat().st_mode & 0o077 == 0 for file in (folder, *files))
