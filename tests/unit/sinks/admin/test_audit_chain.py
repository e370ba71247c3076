"""Whatever is done to one row of the audit, the chain names a row that shows it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from civicstream.errors import ConfigurationError
from sinks.admin.audit import GENESIS, AuditRow, Head, chain_hash, parse_head, verify_rows

TEXTS = st.text(max_size=12)


def chain(texts: list[tuple[str, str]]) -> list[AuditRow]:
    """Return a whole log with one row per (actor, action)."""
    rows: list[AuditRow] = []
    previous = GENESIS
    for seq, (actor, action) in enumerate(texts, 1):
        blank = AuditRow(
            seq=seq,
            at_us=seq * 10,
            recorded_us=seq * 10 + 1,
            actor=actor,
            action=action,
            subject="s",
            area="",
            detail="{}",
            previous=previous,
            hash=b"",
        )
        previous = chain_hash(blank)
        rows.append(_with(blank, hash=previous))
    return rows


def _with(row: AuditRow, **changes: object) -> AuditRow:
    return AuditRow(**({name: getattr(row, name) for name in row.__dataclass_fields__} | changes))  # type: ignore[arg-type]


LOGS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=8).map(chain)


@given(LOGS)
def test_a_log_that_nobody_touched_is_whole(rows: list[AuditRow]) -> None:
    found = verify_rows(rows, Head(rows[-1].seq, rows[-1].hash))
    assert (found.problem, found.rows) == (None, len(rows))
    assert parse_head(str(found.head)) == found.head


@given(LOGS, st.data())
def test_a_change_of_any_field_names_that_row(rows: list[AuditRow], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(rows) - 1))
    field = data.draw(
        st.sampled_from(["at_us", "recorded_us", "actor", "action", "subject", "area", "detail"])
    )
    old = getattr(rows[at], field)
    new = old + 1 if isinstance(old, int) else old + "x"
    rows[at] = _with(rows[at], **{field: new})
    found = verify_rows(rows)
    assert found.problem is not None
    assert f"row {at + 1} " in found.problem
    assert found.rows == at


@given(LOGS, st.data())
def test_removing_swapping_or_renumbering_shows(rows: list[AuditRow], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(rows) - 1))
    kept = Head(rows[-1].seq, rows[-1].hash)
    without = rows[:at] + rows[at + 1 :]
    assert verify_rows(without, kept).problem is not None
    renumbered = [_with(row, seq=number) for number, row in enumerate(without, 1)]
    assert verify_rows(renumbered, kept).problem is not None
    again = rows[: at + 1] + rows[at:]
    assert verify_rows(again, kept).problem is not None


@given(LOGS, st.data())
def test_a_log_written_anew_from_a_row_on_shows_against_a_head(
    rows: list[AuditRow], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(rows) - 1))
    texts = [(row.actor, row.action) for row in rows]
    texts[at] = (texts[at][0] + "x", texts[at][1])
    forged = chain(texts)
    assert verify_rows(forged).problem is None, "by itself it is whole"
    problem = verify_rows(forged, Head(rows[-1].seq, rows[-1].hash)).problem
    assert problem is not None
    assert "not the one whose head was kept" in problem


def test_two_fields_cannot_be_divided_otherwise() -> None:
    first, second = chain([("ab", "c")]), chain([("a", "bc")])
    assert first[0].hash != second[0].hash


@pytest.mark.parametrize("text", ["", "7", "7:abc", "x:" + "0" * 64, "7:" + "G" * 64])
def test_what_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="audit head"):
        parse_head(text)
