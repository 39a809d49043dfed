"""One-time codes: how they look, how long they are good, and how many somebody may have."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

DIGITS = 6
TRIES = 5
"""Wrong ones that end a code; with CODES_OF_ONE_NUMBER a guess is right once in 40,000 days."""
LIVES = timedelta(minutes=10)
"""After it was given to whoever sends it, and before: a message that is late is of no use."""


@dataclass(frozen=True, slots=True)
class Limit:
    """No more than `most` codes within a time."""

    most: int
    within: timedelta


CODES_OF_ONE_NUMBER = (Limit(1, timedelta(minutes=1)), Limit(5, timedelta(days=1)))
"""Whoever asks for them: it is somebody's phone that rings."""
CODES_OF_ONE_PERSON = (Limit(10, timedelta(days=1)),)
CODES_OF_ONE_NETWORK = (Limit(60, timedelta(hours=1)),)
"""A service hall has one address for all its visitors."""


def new_code() -> str:
    """Six digits that nobody can foresee."""
    return f"{secrets.randbelow(10**DIGITS):0{DIGITS}}"


def over(limits: Sequence[Limit], ages: Sequence[timedelta]) -> Limit | None:
    """The limit that one more would break, by how long ago each was asked for."""
    for limit in limits:
        if sum(age < limit.within for age in ages) >= limit.most:
            return limit
    return None
