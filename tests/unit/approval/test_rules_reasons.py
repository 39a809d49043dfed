"""What an officer writes to give reasons: cleaned, not too long, not turned around, and there if need be."""

import pytest

from services.approval.errors import ReasonMissing
from services.approval.rules.reasons import LONGEST_REASON, check_reason
from shared.errors import Invalid


def code_of(error: Invalid) -> tuple[str, str]:
    [field] = error.fields
    return field.pointer, field.code


@pytest.mark.parametrize("text", ["", "  \r\n\u200b", "\u3164"])
def test_what_shows_nothing_is_missing_where_there_must_be_some(text: str) -> None:
    assert check_reason(text, missing=None) == ""
    with pytest.raises(ReasonMissing) as error:
        check_reason(text, missing=ReasonMissing)
    assert code_of(error.value) == ("/reason", "required")


def test_reasons_are_kept_as_they_show() -> None:
    assert check_reason(" 材料\u200b不符\r\n请核对 ", missing=ReasonMissing) == "材料不符\n请核对"


def test_the_end_of_a_line_is_one_character() -> None:
    longest = "\r\n".join(["长"] * (LONGEST_REASON // 2)) + "长"
    assert len(check_reason(longest, missing=None)) == LONGEST_REASON
    with pytest.raises(Invalid) as error:
        check_reason(longest + "长", missing=None)
    assert code_of(error.value) == ("/reason", "too-long")


def test_reasons_that_turn_around_are_refused() -> None:
    with pytest.raises(Invalid) as error:
        check_reason("金额\u202e000", missing=ReasonMissing)
    assert code_of(error.value) == ("/reason", "bad-character")
