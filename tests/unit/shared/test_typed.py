"""What people paste: cleaned, and what nobody can see told apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.typed import clean_address, clean_code, clean_text, shows_nothing, turns_around

STRAYS = ["\u200b", "\ufeff", "\u2060", "\u00ad", "\u00a0", "\u3000", "\u2009", " ", "\t", "\n"]


@given(st.lists(st.sampled_from([*STRAYS, "-", "\u2013", "\u2011"]), min_size=0, max_size=9), st.randoms())
def test_what_was_pasted_into_a_number_goes(strays: list[str], random: object) -> None:
    digits = list("33010619900101123X")
    for stray in strays:
        digits.insert(random.randrange(len(digits) + 1), stray)  # type: ignore[attr-defined]
    assert clean_code("".join(digits)) == "33010619900101123X"


def test_full_width_characters_are_plain_ones() -> None:
    assert clean_code("３３０１０６　１９９０ｘ") == "3301061990x"
    assert clean_address("ａ－ｂ＠example.org\u200b") == "a-b@example.org"
    assert clean_address(" 2026-03-01\u00a0") == "2026-03-01"


@pytest.mark.parametrize(
    "name", ["张三", "买买提·吐尔逊", "阿卜杜拉\u200cی", "Anne-Marie O'Neil", "\uf9dc", "㐂"]
)
def test_a_name_keeps_what_shows(name: str) -> None:
    assert clean_text(f" {name}\u200b ") == name


def test_lines_end_alike() -> None:
    assert clean_text("一\r\n二\r三\n") == "一\n二\n三"


@pytest.mark.parametrize(
    "text", ["", " ", "\u200b", "\u3164", "\u2800\u3000", "\u115f\u1160", "\u0301", "\U000e0041"]
)
def test_some_texts_show_nothing(text: str) -> None:
    assert shows_nothing(text)


@pytest.mark.parametrize("text", ["一", "\u3164.", "é", "\u200b0"])
def test_others_do(text: str) -> None:
    assert not shows_nothing(text)


@pytest.mark.parametrize("control", "\u202e\u202d\u2066\u2067\u2069\u200f\u061c")
def test_a_text_that_is_turned_around_is_told(control: str) -> None:
    assert turns_around(f"张{control}三")
    assert turns_around(clean_text(f"张{control}三"))


@given(st.text())
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    for clean in (clean_code, clean_address, clean_text):
        assert clean(clean(text)) == clean(text)
