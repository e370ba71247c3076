"""Rows as JSON, CSV, GeoJSON and Arrow."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.history.columns import Column, columns
from feeds.history.encodings import to_arrow, to_csv, to_geojson, to_json

AT = 1_780_000_020_123
COLUMNS = (
    *columns("id", "version", "weight", "opened_at"),
    Column("route", "json", ""),
    *columns("lon", "lat"),
)
ROW = ("c1", 3, 1.5, AT, '["s1", "s2"]', 13.4, 52.5)
EMPTY = ("c2", 1, None, None, None, None, 52.5)


def test_json_has_times_as_epoch_ms_and_what_is_missing_as_null() -> None:
    found = msgspec.json.decode(to_json(COLUMNS, [ROW, EMPTY], {"next": None}))
    assert found["items"][0] == {
        "id": "c1",
        "version": 3,
        "weight": 1.5,
        "opened_at": AT,
        "route": ["s1", "s2"],
        "lon": 13.4,
        "lat": 52.5,
    }
    assert found["items"][1]["weight"] is None
    assert found["items"][1]["route"] is None
    assert found["next"] is None


def test_a_number_that_is_none_becomes_null_in_json() -> None:
    assert b'"weight":null' in to_json(columns("weight"), [(float("nan"),)], {})


def test_csv_has_a_header_and_times_in_rfc_3339() -> None:
    lines = list(csv.reader(io.StringIO(to_csv(COLUMNS, [ROW, EMPTY]).decode())))
    assert lines[0] == [c.name for c in COLUMNS]
    assert lines[1][3] == "2026-05-28T20:27:00.123Z"
    assert lines[2][2:5] == ["", "", ""]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\r=1"])
def test_text_that_a_spreadsheet_would_run_is_disarmed_in_csv(text: str) -> None:
    lines = list(csv.reader(io.StringIO(to_csv(columns("note"), [(text,)]).decode(), newline="")))
    assert lines[1] == ["'" + text]


def test_numbers_below_zero_stay_numbers_in_csv() -> None:
    assert to_csv(columns("weight"), [(-1.5,)]) == b"weight\r\n-1.5\r\n"


@given(st.lists(st.tuples(st.text(), st.text()), max_size=20))
def test_any_text_reads_back_from_csv_but_for_what_was_disarmed(
    rows: list[tuple[str, str]],
) -> None:
    text = to_csv(columns("note", "reason"), rows).decode("utf-8", "surrogatepass")
    found = list(csv.reader(io.StringIO(text, newline="")))[1:]
    armed = ("=", "+", "-", "@", "\t", "\r")
    wanted = [["'" + t if t.startswith(armed) else t for t in row] for row in rows]
    assert found == wanted


def test_geojson_has_points_and_null_where_the_place_is_not_known() -> None:
    found = msgspec.json.decode(to_geojson(COLUMNS, [ROW, EMPTY], "point", {"next": "x"}))
    assert found["type"] == "FeatureCollection"
    assert found["next"] == "x"
    first, second = found["features"]
    assert first["geometry"] == {"type": "Point", "coordinates": [13.4, 52.5]}
    assert first["id"] == "c1"
    assert "lon" not in first["properties"]
    assert second["geometry"] is None


def test_geojson_takes_a_geometry_as_it_is_stored() -> None:
    line = '{"type": "LineString", "coordinates": [[1, 2], [3, 4]]}'
    found = msgspec.json.decode(
        to_geojson(columns("id", "geometry"), [("s1", line)], "geometry", {})
    )
    assert found["features"][0]["geometry"]["coordinates"] == [[1, 2], [3, 4]]


def test_arrow_has_typed_columns_with_their_meaning_also_without_rows() -> None:
    for rows in ([ROW, EMPTY], []):
        with pa.ipc.open_stream(to_arrow(COLUMNS, rows)) as reader:
            table = reader.read_all()
        assert table.schema.field("opened_at").type == pa.timestamp("ms", tz="UTC")
        assert table.schema.field("lon").metadata[b"description"].startswith(b"Longitude")
        assert table.num_rows == len(rows)
    with pa.ipc.open_stream(to_arrow(COLUMNS, [ROW])) as reader:
        assert reader.read_all().to_pylist()[0]["opened_at"] == datetime.fromtimestamp(
            AT / 1000, UTC
        )
