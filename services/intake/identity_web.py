"""The development log-in: off unless the demo or a setting turns it on, then clearly marked."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from pydantic import Field, ValidationError
from starlette.responses import JSONResponse, RedirectResponse, Response

from services.intake import commands
from services.intake.rules.identity import check_id_number
from services.intake.rules.submission import NamedPerson
from shared.auth.csrf import check_same_origin
from shared.auth.deps import authenticator
from shared.auth.principal import Principal, PrincipalKind
from shared.bus.unit import unit_of
from shared.errors import FieldError, Invalid
from shared.http.body import Body
from shared.http.context import WebContext
from shared.http.doors import doors
from shared.http.problems import Problem, problem_of
from shared.http.rendering import page
from shared.http.validation import field_errors
from shared.legal_time import legal_day

TTL_S = 8 * 3600


class DevCitizen(Body):
    """Somebody whose identity this log-in takes as verified."""

    name: Annotated[str, Field(min_length=1, max_length=60)]
    id_number: Annotated[str, Field(min_length=1, max_length=18)]
    phone: Annotated[str, Field(max_length=20)] | None = None
    email: Annotated[str, Field(max_length=254)] | None = None


class DevOfficer(Body):
    """An officer and the departments whose queues they work."""

    subject: Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[\w.-]+$")]
    name: Annotated[str, Field(max_length=60)] = ""
    departments: Annotated[list[str], Field(min_length=1, max_length=20)]


def identity_router(context: WebContext) -> APIRouter:
    """No route at all where the development log-in is off."""
    router = doors("/dev", ["development log-in"], include_in_schema=False)
    if not context.service.settings.dev_identity:
        return router

    @router.post("/tokens/citizen")
    def citizen_token(request: Request, body: DevCitizen) -> Response:
        """A token for a citizen, who becomes known to intake."""
        return _token(request, known_citizen(context, body))

    @router.post("/tokens/officer")
    def officer_token(request: Request, body: DevOfficer) -> Response:
        """A token for an officer."""
        return _token(request, _officer(body))

    @router.get("/login")
    def login_page(request: Request) -> Response:
        """Pick a test person."""
        return page(context.pages, request, "login.html", _log_in_values(context))

    @router.post("/login")
    def log_in(request: Request, person: Annotated[str, Form()]) -> Response:
        """Be the chosen test person in this browser."""
        check_same_origin(request)
        principal = context.identity.choose(person)
        response = RedirectResponse("/cases" if principal.kind is PrincipalKind.CITIZEN else "/desk", 303)
        authenticator(request).log_in(response, principal, TTL_S)
        return response

    @router.post("/login/citizen")
    def log_in_citizen(
        request: Request, name: Annotated[str, Form()], id_number: Annotated[str, Form()]
    ) -> Response:
        """Be this person in this browser, and become known to intake; or the form again."""
        check_same_origin(request)
        try:
            citizen = known_citizen(context, _dev_citizen(name, id_number))
        except Invalid as error:
            values = _log_in_values(context, problem_of(request, error), name)
            return page(context.pages, request, "login.html", values, status=error.status, back="/dev/login")
        response = RedirectResponse("/cases", 303)
        authenticator(request).log_in(response, citizen, TTL_S)
        return response

    return router


def _log_in_values(context: WebContext, problem: Problem | None = None, name: str = "") -> dict[str, Any]:
    return {"people": context.identity.people(), "problem": problem, "name": name}


def _dev_citizen(name: str, id_number: str) -> DevCitizen:
    try:
        return DevCitizen(name=name, id_number=id_number)
    except ValidationError as error:
        raise Invalid(fields=field_errors([dict(found) for found in error.errors()])) from None


def known_citizen(context: WebContext, body: DevCitizen) -> Principal:
    """Who this is from now on: the person, known to intake. Raises Invalid for a wrong ID number."""
    with unit_of(context.service, "person.register") as unit:
        problem = check_id_number(body.id_number, legal_day(unit.legal))
        if problem is not None:
            raise Invalid(
                fields=[
                    FieldError(
                        "/id_number", f"id-number.{problem}", "身份证件号码有误。", "This ID number is wrong."
                    )
                ]
            )
        who = NamedPerson(body.name, body.id_number, body.phone, body.email)
        person_ref = commands.register_person(unit, who)
    return Principal(PrincipalKind.CITIZEN, str(person_ref), person_ref=person_ref, name=body.name)


def _officer(body: DevOfficer) -> Principal:
    return Principal(PrincipalKind.OFFICER, body.subject, departments=tuple(body.departments), name=body.name)


def _token(request: Request, principal: Principal) -> Response:
    token = authenticator(request).issue(principal, TTL_S)
    return JSONResponse(
        {"token": token, "person_ref": str(principal.person_ref) if principal.person_ref else None}
    )
