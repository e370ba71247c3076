"""The audit holds each decision once, and whatever is done to its rows afterwards shows."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec
import psycopg
import pytest
from psycopg import errors

from civicstream.postgres import connect
from civicstream.service_events import Action
from civicstream.settings import Settings
from sinks.admin import audit
from sinks.admin.access_tokens import create_token, revoke_token
from tests.kit.citizen_events import SOMEONE, action
from tests.kit.sink_process import ask
from tests.kit.sink_rows import Loader, as_role, loader, settings_for

ROWS = "SELECT seq, actor, action, subject, area, detail->>'note' FROM audit_log ORDER BY seq"


@pytest.fixture
def loaded(postgres: str) -> Iterator[Loader]:
    with loader(postgres) as writer:
        yield writer


@pytest.fixture
def settings(loaded: Loader) -> Settings:
    return settings_for(loaded.url)


def decided(loaded: Loader, *actions: Action, partition: int = 0) -> None:
    loaded.write(
        *(loaded.record("city.actions", msgspec.json.encode(a), [], partition) for a in actions)
    )


def tamper(url: str, *statements: str) -> None:
    """Do to the log what only its owner can."""
    with psycopg.connect(url) as owner:
        for statement in statements:
            owner.execute(statement.encode())


def test_each_decision_is_in_the_audit_once_however_often_it_is_read(
    loaded: Loader, settings: Settings
) -> None:
    first, second = action(id="x1"), action(id="x2", by="Zoë", note="ünder 'review'\n", area="süd")
    decided(loaded, first, second, first)
    decided(loaded, first, second, partition=1)  # the topic once more from its beginning
    assert ask(loaded.url, ROWS) == [
        (1, "operator-3", "acknowledge", "case/c1", "north", "seen"),
        (2, "Zoë", "acknowledge", "case/c1", "süd", "ünder 'review'\n"),
    ]
    found = audit.verify(settings)
    assert (found.rows, found.problem) == (2, None)
    assert found.head == audit.head(settings)


def test_an_action_that_is_not_stored_is_not_in_the_audit(loaded: Loader) -> None:
    decided(loaded, action(id="x1"), action(id="x2", at=2**62))
    assert [row[0] for row in ask(loaded.url, "SELECT id FROM actions")] == ["x1"]
    assert len(ask(loaded.url, ROWS)) == 1


def test_forgetting_and_tokens_are_in_the_audit_without_the_persons_pseudonym(
    loaded: Loader, settings: Settings
) -> None:
    made = create_token(settings, "desk-1", ["operate", "read"], "90d", by="clerk")
    assert revoke_token(settings, made.id, by="chief") == "desk-1"
    for partition in (0, 1):
        headers = [("until", b"1700000000000"), ("by", b"clerk")]
        loaded.write(
            loaded.record("city.private", None, headers, partition, SOMEONE.encode()),
        )
    rows = ask(loaded.url, "SELECT actor, action, split_part(subject, '/', 1) FROM audit_log")
    assert rows == [
        ("clerk", "token create", "token"),
        ("chief", "token revoke", "token"),
        ("clerk", "forget", "person"),
    ]
    everything = str(ask(loaded.url, "SELECT audit_log::text FROM audit_log"))
    assert SOMEONE not in everything
    assert made.secret not in everything
    assert made.digest.hex() not in everything
    assert audit.verify(settings).problem is None


CASES = {
    "a changed row": (["UPDATE audit_log SET actor = 'nobody' WHERE seq = 3"], "row 3 .*changed"),
    "a changed detail": (
        ['UPDATE audit_log SET detail = detail || \'{"note": "x"}\' WHERE seq = 2'],
        "row 2 .*changed",
    ),
    "a changed time": (
        ["UPDATE audit_log SET at = at + interval '1 microsecond' WHERE seq = 5"],
        "row 5 .*changed",
    ),
    "a removed row": (["DELETE FROM audit_log WHERE seq = 4"], "row 4 removed"),
    "the beginning removed": (["DELETE FROM audit_log WHERE seq < 3"], "rows 1-2 removed"),
    "two rows that changed places": (
        [
            "UPDATE audit_log SET seq = 100 WHERE seq = 2",
            "UPDATE audit_log SET seq = 2 WHERE seq = 3",
            "UPDATE audit_log SET seq = 3 WHERE seq = 100",
        ],
        "row 2 .*changed",
    ),
    "a row changed and its hash made anew": (
        [
            "UPDATE audit_log SET actor = 'nobody' WHERE seq = 3",
            (
                "UPDATE audit_log SET hash = access.audit_hash(previous, seq, at, recorded_at, "
                "actor, action, subject, area, detail) WHERE seq = 3"
            ),
        ],
        "row 4 .*does not follow row 3",
    ),
    "a row put in": (
        [
            "UPDATE audit_log SET seq = seq + 100 WHERE seq > 2",
            "UPDATE audit_log SET seq = seq - 99 WHERE seq > 100",
            (
                "INSERT INTO audit_log SELECT 3, at, recorded_at, 'nobody', action, subject, area, "
                "detail, hash, access.audit_hash(hash, 3, at, recorded_at, 'nobody', action, "
                "subject, area, detail) FROM audit_log WHERE seq = 2"
            ),
        ],
        "row 4 .*changed",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_whatever_the_owner_does_to_a_row_names_the_row(
    loaded: Loader, settings: Settings, case: str
) -> None:
    decided(loaded, *(action(id=f"x{number}", note=str(number)) for number in range(6)))
    statements, expected = CASES[case]
    tamper(loaded.url, *statements)
    found = audit.verify(settings)
    assert found.problem is not None
    assert re.search(expected, found.problem), found.problem


def test_a_tail_that_is_cut_off_shows_against_a_head_that_was_kept(
    loaded: Loader, settings: Settings
) -> None:
    decided(loaded, *(action(id=f"x{number}") for number in range(4)))
    kept = audit.parse_head(str(audit.head(settings)))
    assert audit.verify(settings, kept).problem is None
    tamper(loaded.url, "DELETE FROM audit_log WHERE seq > 2")
    assert audit.verify(settings).problem is None
    cut = audit.verify(settings, kept).problem
    assert cut is not None
    assert cut.startswith("rows 3 to 4 were removed from the end")
    decided(loaded, *(action(id=f"y{number}") for number in range(4)))  # grown again, others
    again = audit.verify(settings, kept).problem
    assert again is not None
    assert "row 4" in again


MAY_NOT = (
    "INSERT INTO audit_log SELECT * FROM audit_log",
    "UPDATE audit_log SET actor = ''",
    "DELETE FROM audit_log",
    "TRUNCATE audit_log",
    "SELECT access.append_audit(now(), 'a', 'b', 'c', '', '{}')",
    "SELECT * FROM access.api_tokens",
    "SELECT access.create_token('a', 'b', '', '{read}', 'me', now())",
    "SELECT access.revoke_token('a', 'me')",
)


@pytest.mark.parametrize(
    "role", ["civicstream_writer", "civicstream_reader", "civicstream_private"]
)
def test_no_running_part_may_touch_the_audit_or_see_a_hash_of_a_token(
    loaded: Loader, role: str
) -> None:
    with connect(as_role(loaded.url, role), "test") as connection:
        connection.autocommit = True
        for statement in MAY_NOT:
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(statement.encode())
