"""What may be shown of personal data, and the last guard that keeps it out of text that others read."""

import re

# GB 11643: division, birth date, order, check. Numbers with a real date are found even when glued to
# letters; others only when they stand alone, because a trace id is hexadecimal and may hold any digits. The
# case number (18 digits and a check character) matches neither.
_ID_NUMBER = re.compile(
    r"(?<![0-9])(?<![0-9]\.)"
    r"(?:[1-9][0-9]{5}(?:18|19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9Xx](?![0-9A-Za-z])"
    r"|(?<![A-Za-z])[0-9]{17}[0-9Xx](?![0-9A-Za-z]))"
)
_PHONE = re.compile(
    r"(?<![0-9A-Fa-f])(?<![0-9]\.)((?:\+?86[- ]?)?)(1[3-9][0-9])[- ]?([0-9]{4})[- ]?([0-9]{4})(?![0-9A-Fa-f])"
)

# Database drivers and validators quote the refused value in these places of their messages.
_QUOTED_VALUES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\[parameters: .*?\](?=\n|\Z)", re.DOTALL), "[parameters: removed]"),
    (
        re.compile(
            r"DETAIL:.*?(?=\n(?:HINT|CONTEXT|QUERY|LINE \d+|\[SQL|\(Background|Traceback|\s*\n)|\Z)",
            re.DOTALL,
        ),
        "DETAIL: removed",
    ),
    (re.compile(r"LINE \d+:.*(?:\n\s*\^)?"), "LINE removed"),
    (re.compile(r"(invalid input (?:syntax for type|value for enum) [^:\n]+): \".*\""), r"\1: removed"),
    (re.compile(r"input_value=.*?, input_type=", re.DOTALL), "input_value=removed, input_type="),
)


def mask_id_number(number: str) -> str:
    """First and last four characters: 3301**********1234. Anything too short to hide is hidden whole."""
    return number[:4] + "*" * (len(number) - 8) + number[-4:] if len(number) >= 12 else "*" * len(number)


def mask_text(text: str) -> str:
    """Mask every ID number and mobile phone number in a text."""
    if not any(c in "0123456789" for c in text):
        return text
    text = _ID_NUMBER.sub(lambda found: mask_id_number(found[0]), text)
    return _PHONE.sub(r"\1\2****\4", text)


def scrub_error_text(text: str) -> str:
    """Mask, and take out the values that PostgreSQL, SQLAlchemy and pydantic quote in their messages."""
    for pattern, replacement in _QUOTED_VALUES:
        text = pattern.sub(replacement, text)
    return mask_text(text)
