"""Accounts of the system itself: accuracy of the forecasts, the ledger as the database has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from feeds.history.columns import Column, columns
from feeds.history.encodings import Row
from feeds.history.listings import AREA, Filter, Listing, Times

__all__ = ["ACCURACY", "LEDGER", "ledger"]

_UNITS = {"speed": "km/h", "flow": "veh/h"}


def _errors(measure: str) -> tuple[Column, ...]:
    unit = _UNITS[measure]
    described = {
        "rmse": f"Root of the mean squared error [{unit}].",
        "mae": f"Mean absolute error [{unit}].",
        "bias": f"Mean error, forecast minus result [{unit}].",
        "coverage": "Share of the results inside the 80 % interval, 0..1.",
        "persistence_rmse": f"RMSE if the present had been forecast [{unit}].",
        "persistence_mae": f"MAE if the present had been forecast [{unit}].",
    }
    return (
        Column(f"{measure}_n", "int", "Forecasts that were held against a result."),
        *(Column(f"{measure}_{name}", "float", text, True) for name, text in described.items()),
    )


def _accuracy(by: str, keys: tuple[str, ...]) -> Listing:
    return Listing(
        "forecasts/accuracy",
        "How good the forecasts of each day were, beside forecasting no change.",
        f"forecast_accuracy_by_{by} h",
        columns(
            Column("day", "time", "Start of the day (UTC) on which the forecasts were made."),
            *(("area", "segment") if by == "segment" else ()),
            "horizon_min",
            *_errors("speed"),
            *_errors("flow"),
        ),
        ("day", *keys),
        times=Times("h.day", default_span_s=7 * 86_400),
        filters=(
            *((AREA, Filter("segment", "Road segments.")) if by == "segment" else ()),
            Filter("horizon_min", "Horizons [min].", type="int"),
        ),
        arrow=True,
    )


ACCURACY = {
    "horizon": _accuracy("horizon", ("horizon_min",)),
    "segment": _accuracy("segment", ("segment", "horizon_min")),
}
"""What the query parameter ``by`` chooses from."""

LEDGER: list[tuple[str, dict[str, Any]]] = [
    (
        (
            "SELECT kind, sum(received)::bigint, sum(accepted)::bigint, sum(rejected)::bigint, "
            "sum(duplicate)::bigint, sum(corrected)::bigint FROM sink_counts "
            "GROUP BY kind ORDER BY kind"
        ),
        {},
    ),
    (
        (
            "SELECT regexp_replace(topic, '^.*frames[.]', ''), sum(records)::bigint, "
            "sum(events)::bigint, sum(never_came)::bigint, sum(repeated)::bigint "
            "FROM records_seen, LATERAL (SELECT coalesce(sum(missing[i + 1] - missing[i] + 1), 0) "
            "AS never_came FROM generate_series(1, cardinality(missing), 2) i) AS gaps "
            "WHERE topic LIKE '%%.frames.%%' GROUP BY 1"
        ),
        {},
    ),
    (
        (
            "SELECT topic, partition, next_offset, updated_at "
            "FROM sink_offsets ORDER BY topic, partition"
        ),
        {},
    ),
]
"""The statements whose rows ``ledger`` takes."""


def ledger(counts: Sequence[Row], frames: Sequence[Row], offsets: Sequence[Row]) -> dict[str, Any]:
    """Return what reached the database of each kind, and what is wrong with it as sentences.

    received = accepted + rejected + duplicate + corrected; a gap is a frame that never came. The
    other stages' counts are on the live feed's topic ``ledger``.
    """
    named = ("received", "accepted", "rejected", "duplicate", "corrected")
    framed = ("frames", "readings", "gaps", "repeats")
    of_frames = {row[0]: dict(zip(framed, row[1:], strict=True)) for row in frames}
    nothing = dict.fromkeys(framed, 0)
    kinds = [
        {"kind": row[0], **dict(zip(named, row[1:], strict=True)), **of_frames.get(row[0], nothing)}
        for row in counts
    ]
    problems = []
    for k in kinds:
        left = k["received"] - k["accepted"] - k["rejected"] - k["duplicate"]
        left -= k["corrected"]
        if left:
            problems.append(f"{k['kind']}: {left:+} readings unaccounted for in the sink")
        if k["gaps"]:
            problems.append(f"{k['kind']}: {k['gaps']} frames never came to the sink")
    places = ("topic", "partition", "next_offset", "updated_at")
    return {
        "kinds": kinds,
        "offsets": [dict(zip(places, row, strict=True)) for row in offsets],
        "problems": problems,
    }
