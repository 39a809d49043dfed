"""What people type and paste: cleaned before it is judged, and what nobody can see told apart.

Chat programs, spreadsheets and input methods add what does not show: zero-width and non-breaking spaces,
full-width digits, groups of four. Whoever pasted it cannot find it, so it is taken out. Names keep every
character that shows: normalising one could turn a character of the household register into another.
"""

import unicodedata

# Shown as nothing although Unicode counts them among letters and symbols: fillers of Hangul, blank Braille.
_BLANK_SYMBOLS = frozenset("\u115f\u1160\u3164\uffa0\u2800")
# Part of words in Persian, Mongolian and Indic scripts, and of emoji: no stray of a clipboard.
_JOINERS = frozenset("\u200c\u200d")
# They show text in another order than it is stored in (UTS #39, UAX #9).
_DIRECTION_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def clean_code(text: str) -> str:
    """A number or code in one spelling: full-width characters made plain; blanks, dashes and all that does
    not show out. Upper and lower case stay."""
    return "".join(char for char in clean_address(text) if not _is_dash(char))


def clean_address(text: str) -> str:
    """An e-mail address or a date: as `clean_code`, but dashes stay."""
    plain = unicodedata.normalize("NFKC", text)
    shown = "".join(char for char in plain if unicodedata.category(char)[0] not in "ZC")
    # A blank between a letter and an accent kept them apart.
    return unicodedata.normalize("NFKC", shown)


def clean_text(text: str) -> str:
    """A name, an address or a reason: lines end as \\n, strays of clipboards are out, blanks around it too.

    Controls of direction stay, to be refused: taking them out would change what was meant.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(char for char in lines if not _is_stray(char)).strip()


def shows_nothing(text: str) -> bool:
    """Whether a text has no character that can be seen; so has an empty one."""
    return all(unicodedata.category(char)[0] in "ZCM" or char in _BLANK_SYMBOLS for char in text)


def turns_around(text: str) -> bool:
    """Whether a text has controls that show it in another order: the name shown is not the name stored."""
    return not _DIRECTION_CONTROLS.isdisjoint(text)


def _is_dash(char: str) -> bool:
    return unicodedata.category(char) == "Pd" or char == "\u2212"


def _is_stray(char: str) -> bool:
    kept = char in _JOINERS or char in _DIRECTION_CONTROLS
    return unicodedata.category(char) == "Cf" and not kept
