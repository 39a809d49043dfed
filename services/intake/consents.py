"""What holders agree to and take back, and what a counter notes of it, for API and pages alike."""

from typing import Annotated, Any

from pydantic import Field, Strict

from services.intake import access, commands, view
from services.intake.commands import SeenProxy
from services.intake.errors import CaseNotFound
from services.intake.models import Consent
from services.intake.rules.consent import ProxyDocument
from shared.auth.principal import Principal, PrincipalKind
from shared.bus.idempotency import StoredResponse, answer_once
from shared.bus.unit import unit_of
from shared.http.body import Body, ShownText
from shared.http.context import WebContext
from shared.http.idempotency import fingerprint


class ProxyConsent(Body):
    """What a counter has seen of somebody who agrees for a holder: which paper, and its number or where its
    copy is filed."""

    holder_role: Annotated[str, Field(min_length=1, max_length=60, examples=["applicant"])]
    document: Annotated[ProxyDocument, Strict(False)]
    reference: Annotated[ShownText, Field(min_length=1, max_length=100, examples=["2026-0412"])]


class CounterWithdrawal(Body):
    """Whose consent is taken back, by the role of the holder in the case."""

    holder_role: Annotated[str, Field(min_length=1, max_length=60, examples=["applicant"])]


def open_consents(
    context: WebContext, citizen: Principal, *, cursor: str | None, limit: int
) -> dict[str, Any]:
    """A page of what waits for one's own consent, the oldest first. Raises CursorInvalid."""
    with unit_of(context.service, "consents.mine") as unit:
        return access.open_consents(unit, citizen, cursor=cursor, limit=limit)


def given_consents(
    context: WebContext, citizen: Principal, *, cursor: str | None, limit: int
) -> dict[str, Any]:
    """A page of what one, or somebody for one, has agreed to, the newest first. Raises CursorInvalid."""
    with unit_of(context.service, "consents.given") as unit:
        return access.given_consents(unit, citizen, cursor=cursor, limit=limit)


def own_consent(context: WebContext, citizen: Principal, number: str) -> dict[str, Any]:
    """What a case asks of this holder, and how their consent stands. Raises CaseNotFound."""
    with unit_of(context.service, "consent.read") as unit:
        case, consent = access.own_consent(unit, number, citizen)
        matter = context.service.matters.get(consent.matter, consent.matter_version)
        return view.own_consent(case, consent, matter)


def consent_of(context: WebContext, party: Principal, number: str) -> dict[str, Any] | None:
    """The same; None where the case asks nothing of whoever looks, or where they look for somebody else."""
    if party.kind is not PrincipalKind.CITIZEN:
        return None
    try:
        return own_consent(context, party, number)
    except CaseNotFound:
        return None


def give_consent(context: WebContext, citizen: Principal, number: str) -> dict[str, Any]:
    """Agree that one's own certificates are read for this case; agreeing again changes nothing.

    Raises as `access.lock_own_consent` and the command do.
    """
    with unit_of(context.service, "case.consent") as unit:
        case, consent = access.lock_own_consent(unit, number, citizen)
        return _given(commands.give_consent(unit, case, consent, citizen))


def renew_consent(context: WebContext, citizen: Principal, key: str, number: str) -> StoredResponse:
    """Agree again after one has taken one's consent back, once for each key.

    Raises as `access.lock_own_consent` and the command do.
    """
    with unit_of(context.service, "case.consent-renewal") as unit:
        case, consent = access.lock_own_consent(unit, number, citizen)

        def make() -> tuple[int, dict[str, Any]]:
            return 200, _given(commands.renew_consent(unit, case, consent, citizen))

        return answer_once(unit, citizen.scope, key, _said(number, "consent/renewal"), make)


def withdraw_consent(context: WebContext, citizen: Principal, key: str, number: str) -> StoredResponse:
    """Take one's own consent back, once for each key: whoever gave it.

    Raises as `access.lock_own_consent` and the command do.
    """
    with unit_of(context.service, "case.consent-withdrawal") as unit:
        case, consent = access.lock_own_consent(unit, number, citizen)

        def make() -> tuple[int, dict[str, Any]]:
            commands.withdraw_consent(unit, case, consent, citizen)
            return 200, _withdrawn(consent)

        return answer_once(unit, citizen.scope, key, _said(number, "consent/withdrawal"), make)


def check_counter(operator: Principal) -> None:
    """Whether an operator may note anything at all. Raises NotAtACounter."""
    access.check_counter(operator)


def at_the_counter(context: WebContext, operator: Principal, number: str) -> dict[str, Any]:
    """For whom a counter may note a consent or a withdrawal. Raises as `access.at_the_counter` does."""
    with unit_of(context.service, "consent.counter") as unit:
        return access.at_the_counter(unit, number, operator)


def record_proxy_consent(
    context: WebContext, operator: Principal, key: str, number: str, body: ProxyConsent
) -> StoredResponse:
    """Somebody agrees for the holder of this role, by a paper that the operator has seen; once for each key.

    Raises as `access.lock_for_proxy` and the command do.
    """
    with unit_of(context.service, "case.proxy-consent") as unit:
        case, consent = access.lock_for_proxy(unit, number, body.holder_role, operator)
        seen = SeenProxy(body.document, body.reference)

        def make() -> tuple[int, dict[str, Any]]:
            return 200, _given(commands.record_proxy_consent(unit, case, consent, seen, operator))

        said = _said(number, "proxy-consents", body.model_dump_json())
        return answer_once(unit, operator.scope, key, said, make)


def record_withdrawal(
    context: WebContext, operator: Principal, key: str, number: str, body: CounterWithdrawal
) -> StoredResponse:
    """Whom the operator serves takes back the consent of the holder of this role: their own, or the one that
    they gave in the holder's place; once for each key.

    Raises as `access.lock_for_withdrawal` and the command do.
    """
    with unit_of(context.service, "case.counter-withdrawal") as unit:
        case, consent = access.lock_for_withdrawal(unit, number, body.holder_role, operator)

        def make() -> tuple[int, dict[str, Any]]:
            commands.withdraw_consent(unit, case, consent, operator)
            return 200, _withdrawn(consent)

        return answer_once(
            unit, operator.scope, key, _said(number, "counter-withdrawals", body.holder_role), make
        )


def _given(consent: Consent) -> dict[str, Any]:
    assert consent.given_at is not None
    return {"number": consent.case_no, "given_at": consent.given_at.isoformat()}


def _withdrawn(consent: Consent) -> dict[str, Any]:
    assert consent.withdrawn_at is not None
    return {"number": consent.case_no, "withdrawn_at": consent.withdrawn_at.isoformat()}


def _said(number: str, what: str, details: str = "") -> str:
    return fingerprint("POST", f"/api/v1/cases/{number}/{what}", details.encode())
