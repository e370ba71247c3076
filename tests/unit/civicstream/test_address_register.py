"""The address register: found as people write, refused with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from civicstream.addresses import read_addresses
from civicstream.errors import ConfigurationError

HEAD = "address_id,address,lon,lat\n"


def _book(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "addresses.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_addresses_are_found_whatever_their_case_accents_and_commas(tmp_path: Path) -> None:
    book = read_addresses(_book(tmp_path, HEAD + '7,"Quai de Église 5, Nord",2.5,48.5\n'))
    assert book.find(None, "quai de eglise 5 NORD") == (2.5, 48.5)
    assert book.find("7", None) == (2.5, 48.5)
    assert book.find("8", "elsewhere") is None


def test_the_first_of_two_lines_with_one_address_counts(tmp_path: Path) -> None:
    book = read_addresses(_book(tmp_path, HEAD + "1,Oak 1,2,48\n2,OAK  1,3,49\n"))
    assert book.find(None, "oak 1") == (2.0, 48.0)


def test_no_file_means_no_addresses() -> None:
    assert read_addresses(None).find("1", "Oak 1") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,address,lon,lat\n", "no column address_id"),
        (HEAD + "1,Oak 1,x,48\n", "line 2: lon and lat must be numbers"),
        (HEAD + "1,Oak 1,2,48\n2,Oak 2,2\n", "line 3: lon and lat must be numbers"),
        (HEAD + "1,Oak 1,2,98\n", "line 2: lon 2.0, lat 98.0 is not on Earth"),
    ],
)
def test_a_wrong_register_is_refused_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_addresses(_book(tmp_path, text))
    assert words in str(caught.value)
