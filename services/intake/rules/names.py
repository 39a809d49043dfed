"""Whether two spellings are of one name."""

import unicodedata

_SEPARATORS = frozenset("·•・‧．.∙⋅･'’-‐")
"""Between the parts of names; each input method has its own."""


def same_name(one: str, other: str) -> bool:
    """Whether these are one name as people and registers write it: width, case, dots and blanks aside, and
    for names in Latin letters the order of their parts."""
    return _parts(one) == _parts(other)


def _parts(name: str) -> list[str]:
    plain = unicodedata.normalize("NFKC", name).casefold()
    spaced = "".join(" " if char in _SEPARATORS else char for char in plain)
    parts = spaced.split()
    return sorted(parts) if spaced.isascii() else ["".join(parts)]
