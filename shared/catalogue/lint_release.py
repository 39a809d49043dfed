"""Keys of a matter that this release reads and does not act on: a promise that nobody keeps is an error.

What a later release acts on, it takes out of here.
"""

from collections.abc import Iterator

from shared.catalogue.lint_form import Finding
from shared.catalogue.matter import Matter
from shared.catalogue.positions import Loc
from shared.catalogue.terms import ApplicantKind, Necessity, SilencePolicy

_RIGHT = "leave it out until a release acts on it"


def release_findings(matter: Matter) -> Iterator[Finding]:
    """Everything that cases of this matter would do without."""
    yield from _of_the_whole(matter)
    yield from _of_materials(matter)
    for number, step in enumerate(matter.steps):
        if step.parallel is not None:
            yield _finding(("steps", number, "parallel"), "runs steps one after another")
        if step.silence_policy is not SilencePolicy.NONE:
            yield _finding(("steps", number, "silence_policy"), "draws nothing from silence")


def _of_the_whole(matter: Matter) -> Iterator[Finding]:
    for number, kind in enumerate(matter.applicant_kinds):
        if kind is not ApplicantKind.NATURAL_PERSON:
            yield _finding(("applicant_kinds", number), "takes applications of natural persons only")
    if matter.fee.amount_cny:
        yield _finding(("fee", "amount_cny"), "collects no fee: cases would be decided unpaid")
    if matter.visits.count:
        yield _finding(("visits", "count"), "arranges no visit")
    if matter.automatic_decision is not None:
        yield _finding(("automatic_decision",), "decides nothing by itself")


def _of_materials(matter: Matter) -> Iterator[Finding]:
    for number, material in enumerate(matter.materials):
        loc: Loc = ("materials", number)
        if material.necessity is Necessity.DEFERRABLE:
            yield _finding((*loc, "necessity"), "asks for everything before it accepts")
        if material.commitment_allowed:
            yield _finding((*loc, "commitment_allowed"), "takes no commitment in place of a material")


def _finding(loc: Loc, what: str) -> Finding:
    return Finding(loc, f"this release {what}", _RIGHT)
