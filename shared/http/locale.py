"""Chinese or English: by ?lang=, then by cookie, then by Accept-Language; Chinese when nobody says."""

from enum import StrEnum

from babel import negotiate_locale
from starlette.requests import Request

COOKIE = "onestop_lang"
_AVAILABLE = ("zh", "en")


class Locale(StrEnum):
    """The languages that every message exists in, as BCP 47 tags."""

    ZH = "zh-CN"
    EN = "en"

    def pick(self, zh: str, en: str) -> str:
        """The text in this language, or the other one where it is missing."""
        return (zh or en) if self is Locale.ZH else (en or zh)


def locale_of(request: Request) -> Locale:
    """The language to answer a request in."""
    named = _negotiated(request.query_params.get("lang"), request.cookies.get(COOKIE))
    return named or _preferred(request.headers.get("accept-language", ""))


def weighted(header: str) -> list[tuple[float, str]]:
    """The entries of an Accept-style header with their q, best first; what cannot be read counts as 0."""
    entries = []
    for part in header.split(","):
        value, *parameters = (piece.strip().lower() for piece in part.split(";"))
        if value:
            entries.append((_quality(parameters), value))
    return sorted(entries, key=lambda entry: -entry[0])


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0


def _preferred(header: str) -> Locale:
    return _negotiated(*(tag for quality, tag in weighted(header) if quality > 0)) or Locale.ZH


def _negotiated(*tags: str | None) -> Locale | None:
    """The best of these tags that we have, also where we have the language and not the region."""
    found = negotiate_locale([tag.lower() for tag in tags if tag], _AVAILABLE, sep="-", aliases={})
    return {"zh": Locale.ZH, "en": Locale.EN}.get(found or "")
