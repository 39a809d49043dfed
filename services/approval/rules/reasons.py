"""What an officer writes to give reasons: for the citizen or for a colleague."""

from shared.errors import FieldError, Invalid
from shared.typed import clean_text, shows_nothing, turns_around

LONGEST_REASON = 2000
"""Characters; the end of a line is one."""


def check_reason(text: str, *, missing: type[Invalid] | None) -> str:
    """The reasons as they are kept, "" where none need be given and none shows.

    Raises Invalid where they are too long or turn around, and `missing` where there must be some.
    """
    reason = clean_text(text)
    if shows_nothing(reason):
        if missing is not None:
            raise missing(fields=[FieldError("/reason", "required", "请填写理由。", "Give the reasons.")])
        return ""
    if len(reason) > LONGEST_REASON:
        raise Invalid(
            fields=[
                FieldError(
                    "/reason",
                    "too-long",
                    f"理由最多 {LONGEST_REASON} 个字，现有 {len(reason)} 个。",
                    f"Reasons have at most {LONGEST_REASON} characters; these have {len(reason)}.",
                )
            ]
        )
    if turns_around(reason):
        raise Invalid(
            fields=[
                FieldError(
                    "/reason",
                    "bad-character",
                    "理由含有改变文字方向的控制字符。",
                    "The reasons have characters that turn the text around.",
                )
            ]
        )
    return reason
