"""Who may send in an application, by what they are."""

from uuid import UUID

from shared.auth.principal import Principal, PrincipalKind


def may_file(submitter: Principal, channel: str, applicant: UUID, agent: UUID | None) -> bool:
    """Citizens for themselves and for whom they act; operators, through channels of theirs, for whom they
    serve; client programs, through channels of theirs, for whom the form names. Nobody else."""
    parties = {applicant} if agent is None else {applicant, agent}
    match submitter.kind:
        case PrincipalKind.CITIZEN:
            return submitter.party in parties
        case PrincipalKind.OPERATOR:
            return channel in submitter.channels and submitter.party in parties
        case PrincipalKind.CLIENT:
            return channel in submitter.channels
        case _:
            return False
