"""What is known of a person is sealed, apart, and gone for good once it is to be forgotten."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec
import pytest
from psycopg import errors

from civicstream.clock import now_ms
from civicstream.errors import ConfigurationError
from civicstream.events import DeadLetter
from civicstream.kafka.topic_admin import create_topics
from civicstream.postgres import connect
from civicstream.service_events import PersonalRecord
from civicstream.settings import KafkaSettings, Settings
from sinks.admin.forgetting import forget
from sinks.admin.init import init_database
from sinks.records import KafkaRecord
from stack.servers.processes import Child, wait_until
from tests.kit.citizen_events import OTHER, SOMEONE, case, personal, report
from tests.kit.sink_events import AT, MINUTE
from tests.kit.sink_input import Gateway
from tests.kit.sink_process import ask, sink_running
from tests.kit.sink_rows import Loader, as_role, loader, settings_for

SEALED = "SELECT report, pseudonym, sealed FROM private.sealed_records ORDER BY report"
REPORTERS = "SELECT id, reporter FROM citizen_reports ORDER BY id"


def sealed(loaded: Loader, record: PersonalRecord, partition: int = 0) -> KafkaRecord:
    key = record.pseudonym.encode()
    return loaded.record("city.private", msgspec.json.encode(record), [], partition, key)


def null(loaded: Loader, pseudonym: str, until: int, partition: int = 0) -> KafkaRecord:
    headers = [("until", str(until).encode()), ("by", b"clerk")]
    return loaded.record("city.private", None, headers, partition, pseudonym.encode())


def received(loaded: Loader, *ids: str, partition: int = 0, **changes: object) -> None:
    loaded.write(
        *(
            loaded.record(
                "city.reports", msgspec.json.encode(report(id=id_, **changes)), [], partition
            )
            for id_ in ids
        )
    )


NEITHER_MAY = (
    SEALED,
    "SELECT count(*) FROM private.sealed_records",
    "SELECT * FROM private.forgotten",
    "INSERT INTO private.sealed_records VALUES ('r', 'p', now(), 's')",
    "DELETE FROM private.sealed_records",
    "SELECT private.is_forgotten('p', now())",
    "CREATE VIEW mine AS SELECT * FROM private.sealed_records",
)
STORE = "SELECT private.store('{r9}', '{p}', '{1}', '{s}')"
FORGET = f"SELECT * FROM private.forget('{SOMEONE}', now(), 'me')"


def refused(url: str, role: str, statements: tuple[str, ...]) -> None:
    with connect(as_role(url, role), "test") as connection:
        connection.autocommit = True
        for statement in statements:
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_sealed_records_are_stored_once_and_only_their_own_role_reads_them(database: str) -> None:
    with loader(database) as loaded:
        first = sealed(loaded, personal())
        written = loaded.write(
            first,
            sealed(loaded, personal(sealed="changed")),
            sealed(loaded, personal(report="r2")),
        )
        assert written.events == {"sealed_records": 2}
        assert loaded.write(sealed(loaded, personal(), 1)).events == {"sealed_records": 0}
    with connect(as_role(database, "civicstream_private"), "test") as keeper:
        rows = keeper.execute(SEALED.encode()).fetchall()
    assert rows == [("r1", SOMEONE, "sealed-1"), ("r2", SOMEONE, "sealed-1")]
    refused(database, "civicstream_writer", NEITHER_MAY)
    refused(database, "civicstream_reader", (*NEITHER_MAY, STORE, FORGET))
    erases = ("DELETE FROM private.sealed_records", "UPDATE cases SET state = ''", STORE)
    refused(database, "civicstream_private", (*erases, "SELECT * FROM citizen_reports"))


def test_a_null_record_erases_the_person_and_no_later_reading_of_the_topic_brings_them_back(
    database: str,
) -> None:
    with loader(database) as loaded:
        received(loaded, "r1", "r2")
        received(loaded, "r3", reporter=OTHER)
        before = (personal(), personal(report="r2", at=AT - MINUTE))
        others = personal(report="r3", pseudonym=OTHER)
        later = personal(report="r4", at=AT + 2 * MINUTE, sealed="later")
        for partition in (0, 1):  # the second time as if the topic were read from its beginning
            loaded.write(
                *(sealed(loaded, record, partition) for record in (*before, others)),
                null(loaded, SOMEONE, AT + MINUTE, partition),
                sealed(loaded, later, partition),
            )
            assert ask(database, SEALED) == [("r3", OTHER, "sealed-1"), ("r4", SOMEONE, "later")]
        # Without the null record too, which Kafka gives up one day.
        loaded.write(*(sealed(loaded, record, 2) for record in before))
        assert len(ask(database, SEALED)) == 2
        audit = "SELECT by, sealed_erased, reports_detached FROM private.forgotten"
        assert ask(database, audit) == [("clerk", 2, 2)]
        assert loaded.dead_letters == []
    assert SOMEONE not in str(ask(database, "SELECT f.*, person::text FROM private.forgotten f"))


def test_reports_stay_as_nobodys_also_those_still_on_their_way(database: str) -> None:
    with loader(database) as loaded:
        received(loaded, "r1", "r2")
        received(loaded, "r3", reporter=OTHER)
        loaded.write(loaded.record("city.cases", msgspec.json.encode(case()), []))
        loaded.write(null(loaded, SOMEONE, AT + MINUTE))
        received(loaded, "r4")
        received(loaded, "r5", received_at=AT + 2 * MINUTE)
        received(loaded, "r1", "r2", partition=1)  # the topic once more from its beginning
        found = dict(ask(database, REPORTERS))
        assert (found.pop("r3"), found.pop("r5")) == (OTHER, SOMEONE)
        assert all(reporter.startswith("forgotten-") for reporter in found.values())
        assert len(set(found.values())) == 3, "two reports can be told to be of one person"
        kept = (
            "SELECT count(*) FILTER (WHERE reference = '' AND address IS NULL "
            "AND media_url IS NULL), min(description), count(DISTINCT lon) FROM citizen_reports "
            "WHERE reporter LIKE 'forgotten-%'"
        )
        assert ask(database, kept) == [(3, "deep", 1)]
        link = "SELECT case_id FROM reports WHERE id = 'r1'"
        assert loaded.seen_by_reader(link) == [("c1",)]


def refusals(pseudonym: str) -> list[DeadLetter]:
    """Return letters of a person's refused reports: the gateway's, and the desk's."""
    told = msgspec.json.encode(report(reporter=pseudonym))
    topic = f"city/v1/report/north/{pseudonym}"
    gateway = DeadLetter(
        stage="gateway",
        reason="too_old",
        detail="sentence",
        topic=topic,
        received_at=AT,
        payload=b"sealed",
        payload_bytes=6,
        kind="report",
    )
    desk = DeadLetter(
        stage="worker",
        reason="too_old",
        detail="sentence",
        topic="reports",
        received_at=AT,
        payload=told,
        payload_bytes=len(told),
        kind="report",
    )
    return [gateway, desk]


def test_the_dead_letters_of_a_person_are_emptied_and_those_of_others_are_not(
    database: str,
) -> None:
    held = "SELECT topic, payload = '' FROM dead_letters ORDER BY 1, 2"
    with loader(database) as loaded:

        def send(*dead_letters: DeadLetter) -> None:
            records = [
                loaded.record("city.deadletter", msgspec.json.encode(dead_letter), [])
                for dead_letter in dead_letters
            ]
            loaded.write(*records)

        send(*refusals(SOMEONE), *refusals(OTHER))
        loaded.write(null(loaded, SOMEONE, AT))
        send(*refusals(SOMEONE))  # they were still on their way
        others = [(f"city/v1/report/north/{OTHER}", False)]
        assert ask(database, held) == [*others, *[("forgotten", True)] * 4, ("reports", False)]
        assert ask(database, "SELECT letters_emptied FROM private.forgotten") == [(2,)]


def test_what_cannot_be_stored_of_a_person_is_a_dead_letter_that_shows_nothing(
    postgres: str,
) -> None:
    secret = b'{"pseudonym": "Jane Doe", "phone": "555-0100"}'
    with loader(postgres) as loaded:
        loaded.write(
            loaded.record("city.private", secret, []),
            loaded.record("city.private", None, [("until", b"Jane")], key=b"5"),
            loaded.record("city.private", None, []),
            sealed(loaded, personal(report="Jane\0", sealed="Jane")),
            sealed(loaded, personal(at=2**62, sealed="Jane")),
            sealed(loaded, personal(report="good")),
        )
        assert ask(postgres, SEALED) == [("good", SOMEONE, "sealed-1")]
        reasons = [dead_letter.reason for dead_letter in loaded.dead_letters]
        assert sorted(reasons) == [*["foreign_record"] * 3, *["refused_by_database"] * 2]
        assert len({dead_letter.offset for dead_letter in loaded.dead_letters}) == 5
        assert b"Jane" not in msgspec.json.encode(loaded.dead_letters)


def test_forgetting_what_is_no_pseudonym_or_without_the_right_changes_nothing(
    postgres: str,
) -> None:
    settings = settings_for(postgres)
    with pytest.raises(ConfigurationError, match="'Jane' is not a pseudonym"):
        forget(settings, "Jane")
    init_database(settings)
    reader = settings.database.model_copy(
        update={"private_url": as_role(postgres, "civicstream_reader")}
    )
    with pytest.raises(ConfigurationError, match=r"'civicstream_reader' may not .*PRIVATE_URL"):
        forget(settings.model_copy(update={"database": reader}), SOMEONE)


def command(settings: Settings, folder: Path) -> Child:
    """Start `civicstream forget` for SOMEONE."""
    private = settings.database.private_url
    assert private is not None
    variables = {
        "CIVICSTREAM_KAFKA__BOOTSTRAP": settings.kafka.bootstrap,
        "CIVICSTREAM_KAFKA__TOPIC_PREFIX": settings.kafka.topic_prefix,
        "CIVICSTREAM_DATABASE__PRIVATE_URL": private.get_secret_value(),
    }
    arguments = [sys.executable, "-m", "stack.cli", "forget", SOMEONE, "--by", "clerk 4"]
    return Child("forget", arguments, folder / "forget.log", os.environ | variables)


def test_the_command_erases_and_the_sink_reading_all_again_does_not_bring_it_back(
    postgres: str, kafka: KafkaSettings, tmp_path: Path
) -> None:
    create_topics(kafka)
    settings = settings_for(postgres, kafka)
    init_database(settings)
    at = now_ms() - MINUTE
    with Gateway(kafka) as gateway:

        def send(id_: str, pseudonym: str) -> None:
            sent = report(id=id_, reporter=pseudonym, received_at=at)
            known = personal(report=id_, pseudonym=pseudonym, at=at)
            gateway.raw("reports", msgspec.json.encode(sent), key=b"north")
            gateway.raw("private", msgspec.json.encode(known), key=pseudonym.encode())
            gateway.flush()

        send("r1", SOMEONE)
        send("r2", SOMEONE)
        send("r3", OTHER)
        with sink_running(settings, tmp_path):
            wait_until(lambda: len(ask(postgres, SEALED)) == 3, "sealed records", timeout_s=60)
            wait_until(lambda: len(ask(postgres, REPORTERS)) == 3, "reports", timeout_s=30)
        send("r4", SOMEONE)  # on its way while the sink is down
        child = command(settings, tmp_path)
        wait_until(lambda: not child.alive(), "the command's end", timeout_s=60)
        assert child.returncode == 0, child.last_words()
        assert (
            "erased: 2 sealed records, the bytes of 0 dead letters\nstay: 2 reports"
            in child.last_words()
        )
        assert [row[0] for row in ask(postgres, SEALED)] == ["r3"]
        for again in (False, True):
            if again:
                ask(postgres, "DELETE FROM sink_offsets RETURNING topic")
            send(f"r5{again}", OTHER)  # comes after all the others
            with sink_running(settings, tmp_path):
                new = "SELECT 1 FROM {} WHERE {} = 'r5" + str(again) + "'"
                for table, column in (("private.sealed_records", "report"), ("reports", "id")):
                    query = new.format(table, column)
                    wait_until(lambda q=query: ask(postgres, q), "the last", timeout_s=60)
            assert {row[1] for row in ask(postgres, SEALED)} == {OTHER}
            reporters = dict(ask(postgres, REPORTERS))
            assert {id_ for id_, who in reporters.items() if who == SOMEONE} == set()
            assert {"r1", "r2", "r3", "r4"} < set(reporters)
    audit = "SELECT by, sealed_erased, reports_detached FROM private.forgotten"
    # The fourth never got in: the database knew already.
    assert ask(postgres, audit) == [("clerk 4", 2, 2)]
