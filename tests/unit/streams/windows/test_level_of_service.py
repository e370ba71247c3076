"""Level of service at and around the manual's limits."""

from __future__ import annotations

import numpy as np
import pytest

from streams.windows.level_of_service import freeway_level_of_service, street_level_of_service


@pytest.mark.parametrize(
    ("density_per_mile", "letter"),
    [(0, "A"), (10.9, "A"), (11.1, "B"), (17.9, "B"), (18.1, "C"), (25.9, "C"), (26.1, "D"),
     (34.9, "D"), (35.1, "E"), (44.9, "E"), (45.1, "F"), (200, "F"), (np.nan, "")],
)  # fmt: skip
def test_freeway_letters_follow_density_per_mile(density_per_mile: float, letter: str) -> None:
    per_km = np.array([density_per_mile]) / 1.609344
    assert freeway_level_of_service(per_km).tolist() == [letter]


@pytest.mark.parametrize(
    ("share", "letter"),
    [(1.2, "A"), (0.81, "A"), (0.80, "B"), (0.68, "B"), (0.67, "C"), (0.51, "C"), (0.50, "D"),
     (0.41, "D"), (0.40, "E"), (0.31, "E"), (0.30, "F"), (0, "F"), (np.nan, "")],
)  # fmt: skip
def test_street_letters_follow_share_of_free_flow(share: float, letter: str) -> None:
    assert street_level_of_service(np.array([share])).tolist() == [letter]
