"""When to try again, when to give up, what answers mean, and how webhooks are signed."""

from __future__ import annotations

import hashlib
import hmac
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.deliveries.backoff import Patience, pause_s
from alerts.deliveries.http_answers import check_answer
from alerts.deliveries.outcomes import Refused, TryAgain
from alerts.deliveries.signatures import delivery_id, signed_headers, signing_key
from civicstream.errors import ConfigurationError

NOW = 1_780_000_020_000  # 2026-05-28T20:27:00Z


@given(st.integers(0, 10_000), st.integers())
def test_pauses_double_up_to_a_minute_and_half_of_each_is_drawn(attempt: int, seed: int) -> None:
    whole = min(60.0, 0.5 * 2.0 ** min(attempt, 40))
    assert whole / 2 <= pause_s(attempt, random.Random(seed)) <= whole


def test_an_old_alert_gets_a_fair_try_before_it_is_given_up() -> None:
    fresh = Patience(published_ms=NOW, first_tried_ms=NOW + 10, limit_s=3600)
    assert not fresh.over(NOW + 3_599_000)
    assert fresh.over(NOW + 3_600_000)
    old = Patience(published_ms=NOW - 86_400_000, first_tried_ms=NOW, limit_s=3600)
    assert not old.over(NOW + 29_000)
    assert old.over(NOW + 30_000)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_2xx_is_done(status: int) -> None:
    check_answer(status, {}, "", NOW)


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 410, 413, 422])
def test_what_will_not_get_better_is_refused(status: int) -> None:
    with pytest.raises(Refused, match=str(status)):
        check_answer(status, {"retry-after": "5"}, "no", NOW)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("7", 7.0),
        ("", 0.0),
        ("soon", 0.0),
        ("-3", 0.0),
        ("999999", 3600.0),
        ("Thu, 28 May 2026 20:27:30 GMT", 30.0),
        ("Thu, 28 May 2026 20:26:00 GMT", 0.0),
    ],
)
def test_the_rest_is_tried_again_when_the_receiver_wants_it(
    status: int, header: str, expected: float
) -> None:
    with pytest.raises(TryAgain) as raised:
        check_answer(status, {"retry-after": header}, "", NOW)
    assert raised.value.after_s == pytest.approx(expected, abs=1)


def test_the_signature_is_over_timestamp_and_body() -> None:
    headers = signed_headers("{ü}".encode(), b"s" * 16, NOW, delivery_id("ä b", 2))
    signed = hmac.new(b"s" * 16, "1780000020.{ü}".encode(), hashlib.sha256).hexdigest()
    assert headers["X-Civicstream-Timestamp"] == "1780000020"
    assert headers["X-Civicstream-Signature"] == f"v1={signed}"
    assert headers["X-Civicstream-Delivery"] == "%C3%A4%20b/2"


def test_a_secret_that_could_be_guessed_is_an_error() -> None:
    assert signing_key("x" * 16) == b"x" * 16
    with pytest.raises(ConfigurationError, match="15 bytes"):
        signing_key("x" * 15)
