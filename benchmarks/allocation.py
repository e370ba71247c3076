"""``civicstream bench allocation``: the same simulated days under each policy.

Waiting until arrival, share within target, kilometres, re-assignments; the mean over seeds with
a 95 % confidence interval (Student's t). Then the time a large round of matching takes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from benchmarks.allocation_day import make_day
from benchmarks.allocation_run import Outcome, run_day
from benchmarks.allocation_speed import matching_speed
from benchmarks.allocation_tours import tours_figures

__all__ = ["run", "summary"]

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]

POLICIES = ("nearest_unit", "first_come_first_served", "optimal")
SEEDS = tuple(range(101, 111))
LOAD = 0.9
"""Tuned on other seeds (1 to 3). Crews are then busy for two thirds to four fifths of the time."""

OTHER_LOADS = (0.7, 1.0)
OTHER_SEEDS = SEEDS[:4]

_WEIGHT = np.array([0.0, 8.0, 4.0, 2.0, 1.0])
"""What a minute counts by priority: the weights of the allocation's settings."""


def run(*, seconds: float) -> dict[str, object]:
    """Return the figures; with less than a minute given, of two seeds only."""
    seeds, others = (SEEDS, OTHER_SEEDS) if seconds >= 60 else (SEEDS[:2], ())
    days = [(seed, LOAD) for seed in seeds] + [(s, load) for load in OTHER_LOADS for s in others]
    figures: dict[float, dict[str, list[dict[str, float]]]] = {}
    planning: list[Outcome] = []
    for seed, load in days:
        day = make_day(seed, load)
        compared = POLICIES if load == LOAD else (POLICIES[0], POLICIES[-1])
        of_load = figures.setdefault(load, {policy: [] for policy in compared})
        for policy in compared:
            outcome = run_day(day, policy)
            of_load[policy].append(measures(outcome))
            log.info(
                "seed %s load %s %s: weighted mean %.1f min, %.1f %% within target",
                seed,
                load,
                policy,
                of_load[policy][-1]["weighted_mean_min"],
                100 * of_load[policy][-1]["within_target"],
            )
            planning += [outcome] if policy == "optimal" else []
    result = summary(figures[LOAD])
    result["by_load"] = [
        {"load": load, **_short(summary(of_load))} for load, of_load in sorted(figures.items())
    ]
    result["plan_mean_ms"] = round(
        1000 * sum(o.planning_s for o in planning) / sum(o.plans for o in planning), 2
    )
    return {**result, **matching_speed(), **tours_figures()}


def measures(outcome: Outcome) -> dict[str, float]:
    """Return the figures of one day."""
    weight = _WEIGHT[outcome.priority]
    by_priority = {
        f"p{p}_min": float(outcome.minutes[outcome.priority == p].mean())
        for p in np.unique(outcome.priority).tolist()
    }
    return {
        "mean_min": float(outcome.minutes.mean()),
        "weighted_mean_min": float((weight * outcome.minutes).sum() / weight.sum()),
        "median_min": float(np.median(outcome.minutes)),
        "p95_min": float(np.quantile(outcome.minutes, 0.95)),
        "within_target": float(1 - outcome.late.mean()),
        "km": outcome.km,
        "reassignments": float(outcome.reassignments),
        "busy": outcome.busy,
        "unserved": float(outcome.unserved),
        "tasks": float(len(outcome.minutes)),
        **by_priority,
    }


def summary(figures: dict[str, list[dict[str, float]]]) -> dict[str, object]:
    """Return per policy the mean of each figure with its interval, and ours against nearest."""
    result: dict[str, object] = {"seeds": len(figures["optimal"])}
    policies = []
    for policy, days in figures.items():
        row: dict[str, object] = {"policy": policy}
        for name in (n for n in days[0] if all(n in day for day in days)):
            mean, half = interval([day[name] for day in days])
            row[name] = round(mean, 3)
            row[f"{name}_ci"] = round(half, 3)
        policies.append(row)
    result["policies"] = policies
    for other, short in (("nearest_unit", "nearest"), ("first_come_first_served", "fcfs")):
        if other not in figures:
            continue
        for name, figure in (("weighted_mean", "weighted_mean_min"), ("km", "km")):
            ratios = _compared(figures, other, figure, lambda ours, theirs: ours / theirs - 1)
            mean, half = interval(ratios)
            result[f"{name}_vs_{short}"] = round(mean, 4)
            result[f"{name}_vs_{short}_ci"] = round(half, 4)
        gained = _compared(figures, other, "within_target", lambda ours, theirs: ours - theirs)
        result[f"within_target_vs_{short}"] = round(interval(gained)[0], 4)
        result[f"within_target_vs_{short}_ci"] = round(interval(gained)[1], 4)
        result[f"days_within_target_lower_than_{short}"] = sum(g < 0 for g in gained)
    return result


def _compared(
    figures: dict[str, list[dict[str, float]]],
    other: str,
    name: str,
    compare: Callable[[float, float], float],
) -> list[float]:
    pairs = zip(figures["optimal"], figures[other], strict=True)
    return [compare(ours[name], theirs[name]) for ours, theirs in pairs]


def _short(result: dict[str, object]) -> dict[str, object]:
    """Return one row per load."""
    rows = result["policies"]
    assert isinstance(rows, list)
    found: dict[str, object] = {"seeds": result["seeds"]}
    for row in rows:
        for name in ("weighted_mean_min", "within_target", "busy"):
            found[f"{row['policy']}_{name}"] = row[name]
    for name in ("weighted_mean_vs_nearest", "weighted_mean_vs_nearest_ci"):
        found[name] = result[name]
    return found


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and half width of its 95 % confidence interval (Student's t); 0 for one."""
    n = len(values)
    if n < 2:
        return float(np.mean(values)), 0.0
    half = float(stdtrit(n - 1, 0.975)) * float(np.std(values, ddof=1)) / n**0.5
    return float(np.mean(values)), half
