"""Pseudonyms, sealing and masking."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from typer.testing import CliRunner

from civicstream.errors import ConfigurationError, DataError
from civicstream.personal import (
    Privacy,
    PrivateKeys,
    make_private_key,
    mask_contacts,
    public_key_of,
)
from civicstream.settings import PrivacySettings, load_settings
from stack.cli import app

OLD, NEW = make_private_key(), make_private_key()
SECRET = b"the key of pseudonyms, long enough"


def _privacy(private_key: str = OLD) -> Privacy:
    return Privacy(public_key_of(private_key), SECRET)


def test_only_the_private_key_opens_what_the_public_one_sealed() -> None:
    privacy = _privacy()
    sealed = privacy.seal(b"Ada")
    assert PrivateKeys([OLD]).unseal(sealed) == b"Ada"
    assert PrivateKeys([OLD]).unseal(sealed.encode()) == b"Ada"
    assert not hasattr(privacy, "unseal")
    with pytest.raises(DataError, match="CIVICSTREAM_PRIVACY__PRIVATE_KEY"):
        PrivateKeys([NEW]).unseal(sealed)


def test_after_a_change_of_keys_both_open_and_the_pseudonyms_stay() -> None:
    before, after = _privacy(OLD), _privacy(NEW)
    both = PrivateKeys(f"{NEW}, {OLD}".split(","))
    assert [both.unseal(p.seal(b"Ada")) for p in (before, after)] == [b"Ada", b"Ada"]
    assert after.pseudonym("mqtt:phone") == before.pseudonym("mqtt:phone")


def test_sealing_the_same_twice_gives_different_texts_and_a_changed_one_does_not_open() -> None:
    one, two = _privacy().seal(b"Ada"), _privacy().seal(b"Ada")
    assert one != two
    for changed in (one[:-6] + two[-6:], one[:-4], one[:30], "gAAAAABnothing", ""):
        with pytest.raises(DataError):
            PrivateKeys([OLD]).unseal(changed)


@given(st.text(), st.text())
@settings(max_examples=60)
def test_different_identities_have_different_pseudonyms(one: str, two: str) -> None:
    privacy = _privacy()
    assert (privacy.pseudonym(one) == privacy.pseudonym(two)) == (one == two)
    assert len(privacy.pseudonym(one)) == 32


def test_a_missing_or_wrong_key_is_refused_with_a_way_to_make_one_and_not_repeated() -> None:
    with pytest.raises(ConfigurationError, match=r"PUBLIC_KEY.*civicstream privacy-keys"):
        Privacy.from_settings(PrivacySettings())
    with pytest.raises(ConfigurationError, match="PSEUDONYM_KEY"):
        Privacy.from_settings(PrivacySettings(public_key=public_key_of(OLD)))
    with pytest.raises(ConfigurationError, match="PRIVATE_KEY"):
        PrivateKeys.from_settings(PrivacySettings())
    with pytest.raises(ConfigurationError, match="PUBLIC_KEY is no key of 32 bytes"):
        Privacy("hunter2", SECRET)
    with pytest.raises(ConfigurationError) as caught:
        PrivateKeys([OLD, "hunter2"])
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(environ={"CIVICSTREAM_PRIVACY__PSEUDONYM_KEY": "hunter2"})
    assert "fewer than 32 bytes" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert OLD not in repr(PrivacySettings(private_key=SecretStr(OLD)))


def test_the_command_prints_keys_that_belong_together_as_settings() -> None:
    printed = CliRunner().invoke(app, ["privacy-keys"]).stdout
    made = load_settings(environ=dict(line.split("=", 1) for line in printed.splitlines())).privacy
    sealed = Privacy.from_settings(made).seal(b"Ada")
    assert PrivateKeys.from_settings(made).unseal(sealed) == b"Ada"


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


@pytest.mark.parametrize("piece", ["a", "1", "a@", "a.", "1-", "+1 ", "a@b.-", "a@b@c.", "-", "0 "])
def test_masking_takes_no_longer_for_each_character_of_a_long_text(piece: str) -> None:
    def seconds(length: int) -> float:
        text = piece * (length // len(piece))
        begun = time.process_time()
        mask_contacts(text)
        return time.process_time() - begun

    # Eight times the text: eight times as long, not sixty-four; the rest is for the clock.
    assert seconds(160_000) < 24 * seconds(20_000) + 0.2
