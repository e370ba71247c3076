"""Pseudonyms, sealing and masking."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from civicstream.errors import ConfigurationError, DataError
from civicstream.personal import Privacy, mask_contacts
from civicstream.settings import PrivacySettings, load_settings

OLD, NEW = "the old key, which is long enough".replace(",", ""), "n" * 32


def _privacy(key: str, pseudonym_key: str | None = None) -> Privacy:
    return Privacy.from_settings(
        PrivacySettings.model_validate({"key": key, "pseudonym_key": pseudonym_key})
    )


def test_a_new_key_in_front_opens_what_the_old_one_sealed_and_keeps_the_pseudonyms() -> None:
    before, after = _privacy(OLD), _privacy(f"{NEW}, {OLD}")
    sealed = before.seal(b"Ada")
    assert after.unseal(sealed) == b"Ada"
    assert after.pseudonym("mqtt:phone") == before.pseudonym("mqtt:phone")


def test_resealed_data_need_the_new_key_only_and_a_pseudonym_key_outlives_the_old_one() -> None:
    before = _privacy(OLD)
    resealed = _privacy(f"{NEW},{OLD}").reseal(before.seal(b"Ada"))
    after = _privacy(NEW, pseudonym_key=OLD)
    assert after.unseal(resealed) == b"Ada"
    assert after.pseudonym("mqtt:phone") == before.pseudonym("mqtt:phone")
    with pytest.raises(DataError, match="CIVICSTREAM_PRIVACY__KEY"):
        before.unseal(resealed)


def test_sealing_the_same_twice_gives_different_texts_and_a_changed_one_does_not_open() -> None:
    privacy = _privacy(OLD)
    one, two = privacy.seal(b"Ada"), privacy.seal(b"Ada")
    assert one != two
    with pytest.raises(DataError):
        privacy.unseal(one[:-6] + two[-6:])


@given(st.text(), st.text())
@settings(max_examples=60, deadline=None)
def test_different_identities_have_different_pseudonyms(one: str, two: str) -> None:
    privacy = _privacy(OLD)
    assert (privacy.pseudonym(one) == privacy.pseudonym(two)) == (one == two)
    assert len(privacy.pseudonym(one)) == 32


def test_a_missing_or_short_key_is_refused_with_a_way_to_make_one() -> None:
    with pytest.raises(ConfigurationError, match="CIVICSTREAM_PRIVACY__KEY, a secret of at least"):
        Privacy.from_settings(PrivacySettings())
    with pytest.raises(ConfigurationError) as caught:
        load_settings(environ={"CIVICSTREAM_PRIVACY__KEY": f"{OLD},hunter2"})
    assert "privacy.key" in str(caught.value)
    assert "key 2 has fewer than 32 bytes" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert OLD not in repr(PrivacySettings.model_validate({"key": OLD}))


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("write to ada.muster+311@mail.example.org, please", "write to […], please"),
        ("call +49 (30) 123-4567 now", "call […] now"),
        ("0171/2345678", "[…]"),
        ("555 123 45 67 8", "[…]"),
        ("my number: 415-555-0123-9", "my number: […]"),
        ("pole 1234567, 12 m high, 2 cars", "pole 1234567, 12 m high, 2 cars"),
        ("since 2026-11-21 10:30", "since 2026-11-21 10:30"),
        ("at 12/14 Oak Street, bin 4711", "at 12/14 Oak Street, bin 4711"),
        ("user@localhost", "user@localhost"),
    ],
)
def test_contacts_are_masked_and_other_numbers_are_not(said: str, shown: str) -> None:
    assert mask_contacts(said) == shown
