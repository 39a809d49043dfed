"""What all request bodies have in common."""

import re
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Strict, model_validator
from pydantic_core import PydanticCustomError

from shared.typed import clean_code, clean_text, shows_nothing, turns_around

# PostgreSQL cannot store NUL; the other control characters have no business in anything people fill in.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
CONTROL_CHARACTER = ("field.control-character", "文本包含控制字符", "a text holds control characters")
"""Code and words of the refusal."""


Uuid = Annotated[UUID, Strict(False)]
"""A UUID as JSON has it: a text."""


class Body(BaseModel):
    """Base of every request model: unknown fields are refused, and so are control characters in any text.

    Types are strict: true, 1.0 and "1" are not 1. What JSON writes as a text, such as a UUID or one of
    several words, says so (`Strict(False)`).
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, str_strip_whitespace=True, hide_input_in_errors=True
    )

    @model_validator(mode="before")
    @classmethod
    def _no_control_characters(cls, data: Any) -> Any:
        if has_control(data):
            code, zh, en = CONTROL_CHARACTER
            raise PydanticCustomError("control_character", en, {"code": code, "zh": zh, "en": en})
        return data


def has_control(data: object) -> bool:
    """Whether any text in a value holds what no database can keep or no keyboard types."""
    if isinstance(data, str):
        return _CONTROL.search(data) is not None
    if isinstance(data, dict):
        return any(has_control(key) or has_control(value) for key, value in data.items())
    return isinstance(data, list) and any(has_control(item) for item in data)


def seen(text: str) -> str:
    """A validator: others must see in a text what is stored. Raises what pydantic reports."""
    if turns_around(text):
        code, zh, en = "field.bad-character", "含有改变文字方向的控制字符", "characters turn the text around"
    elif shows_nothing(text):
        code, zh, en = "field.shows-nothing", "没有可见的文字", "nothing can be seen in it"
    else:
        return text
    raise PydanticCustomError("not_seen", en, {"code": code, "zh": zh, "en": en})


def cleaned(value: object) -> object:
    """A validator before the others, for free text: what its writer could not see is not counted."""
    return clean_text(value) if isinstance(value, str) else value


def cleaned_number(value: object) -> object:
    """A validator before the others, for a number or code however it is grouped or typed."""
    return clean_code(value) if isinstance(value, str) else value


ShownText = Annotated[str, BeforeValidator(cleaned), AfterValidator(seen)]
"""What people write for others to read: cleaned, then judged."""
