"""What all request bodies have in common."""

import re
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

# PostgreSQL cannot store NUL; the other control characters have no business in anything people fill in.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class Body(BaseModel):
    """Base of every request model: unknown fields are refused, and so are control characters in any text."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, str_strip_whitespace=True, hide_input_in_errors=True
    )

    @model_validator(mode="before")
    @classmethod
    def _no_control_characters(cls, data: Any) -> Any:
        if _has_control(data):
            raise PydanticCustomError(
                "control_character",
                "a text holds control characters",
                {
                    "code": "field.control-character",
                    "zh": "文本包含控制字符",
                    "en": "a text holds control characters",
                },
            )
        return data


def _has_control(data: object) -> bool:
    if isinstance(data, str):
        return _CONTROL.search(data) is not None
    if isinstance(data, dict):
        return any(_has_control(key) or _has_control(value) for key, value in data.items())
    return isinstance(data, list) and any(_has_control(item) for item in data)
