"""What we know of people: where it comes from, how well it is assured, and which of two is believed."""

from dataclasses import dataclass

from shared.auth.principal import Assurance


@dataclass(frozen=True, slots=True)
class Source:
    """Where something about a person comes from: a provider's name, or `form`; and how well it is assured."""

    name: str
    assurance: Assurance


FORM = Source("form", Assurance.CLAIMED)
"""Somebody typed it; it may be about somebody else."""


def is_better(given: Assurance, known: Assurance) -> bool:
    """Whether what is given now takes the place of what is known.

    What was only claimed never does, not even of another claim: whoever types a stranger's ID number does not
    rename them. What was verified does, also of what was verified before: people marry.
    """
    return given is not Assurance.CLAIMED and given.covers(known)
