"""For which limits an application counts, and how many of each a day takes.

Nobody may close the door to somebody else: what others send about a person, or with a number that is theirs,
never counts against what they send themselves. Those limits hold for others only, and are far above what
people do, so that reaching one tells of a flood and not of what somebody else has applied for.
"""

from collections.abc import Iterator, Mapping
from uuid import UUID

from services.intake.rules.submission import NamedPerson
from shared.auth.principal import Principal, PrincipalKind
from shared.sections import LimitSettings


def counts_of(
    limits: LimitSettings,
    submitter: Principal,
    matter: str,
    people: Mapping[str, NamedPerson],
    refs: Mapping[str, UUID],
) -> dict[str, int]:
    """What an application counts for -> how many of it one legal day takes. `people` and `refs` by role."""
    found = dict(_of_the_submitter(limits, submitter, matter))
    others = {role: who for role, who in people.items() if refs[role] != submitter.party}
    own = {where for role, who in people.items() if role not in others for where in _reached_at(who)}
    for role, who in others.items():
        found[f"about/{refs[role]}"] = limits.filings_about_one
        if submitter.kind is PrincipalKind.CITIZEN:
            found[f"about/{refs[role]}/by/{submitter.subject}"] = limits.filings_for_another
        for where in _reached_at(who) - own:
            found[f"reached/{where}"] = limits.filings_with_a_number
    return found


def _of_the_submitter(limits: LimitSettings, who: Principal, matter: str) -> Iterator[tuple[str, int]]:
    match who.kind:
        case PrincipalKind.OPERATOR:
            yield f"by/{who.kind}/{who.subject}", limits.filings_by_operator
        case PrincipalKind.CLIENT:
            yield f"by/{who.kind}/{who.subject}", limits.filings_by_program
        case _:
            yield f"by/{who.kind}/{who.subject}", limits.filings_by_citizen
            yield f"by/{who.kind}/{who.subject}/in/{matter}", limits.filings_in_a_matter


def _reached_at(who: NamedPerson) -> set[str]:
    return {where.lower() for where in (who.phone, who.email) if where}
