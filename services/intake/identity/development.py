"""The development log-in: whoever you choose to be, you are. Off unless the demo or a setting turns it on;
the settings refuse it in production; every page is marked."""

from typing import Annotated, Any
from uuid import NAMESPACE_URL, UUID, uuid5

from fastapi import APIRouter, Form, Request
from pydantic import BeforeValidator, Field, ValidationError
from starlette.responses import Response

from services.intake.identity.accounts import Office, open_account, set_account
from services.intake.identity.attributes import Source
from services.intake.identity.persons import register_person
from services.intake.identity.provider import LogInDesk, Way
from services.intake.identity.sessions import Proof
from services.intake.rules.contacts import ContactKind, clean_contact
from services.intake.rules.identity import check_id_number
from services.intake.rules.submission import NamedPerson
from shared.auth.csrf import check_same_origin
from shared.auth.principal import Assurance, Principal, PrincipalKind
from shared.bus.unit import Unit
from shared.errors import FieldError, Invalid, NotFound
from shared.http.body import Body, ShownText, cleaned_number
from shared.http.doors import doors
from shared.http.problems import Problem, problem_of
from shared.http.rendering import page
from shared.http.validation import field_errors
from shared.legal_time import legal_day
from shared.sections import Section
from shared.settings import Settings

NAME = "development"
SETTINGS = Section
WAY = Way("/dev/login", "测试登录（开发环境）", "Test log-in (development)")
BY = "development log-in"
COUNTER = "counter-1"
"""The test operator of the counter."""

_SOURCE = Source(NAME, Assurance.VERIFIED)
_PROOF = Proof(NAME, Assurance.VERIFIED)

Subject = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[\w.-]+$")]
Codes = Annotated[list[str], Field(max_length=20, default_factory=list)]


class NoSuchLogIn(NotFound):
    """The person is not on the list."""

    code = "auth.no-such-log-in"
    title_zh = "没有这个测试登录"
    title_en = "There is no such test log-in"


class DevCitizen(Body):
    """Somebody whose identity this log-in takes as verified."""

    name: Annotated[ShownText, Field(min_length=1, max_length=60)]
    id_number: Annotated[str, BeforeValidator(cleaned_number), Field(min_length=1, max_length=18)]
    phone: Annotated[str, Field(max_length=20)] | None = None
    email: Annotated[str, Field(max_length=254)] | None = None


class DevOfficer(Body):
    """An officer and what they may do. `person` is who they are; without one they are somebody made up for
    their subject, and with `linked: false` nobody knows who they are."""

    subject: Subject
    name: Annotated[str, Field(max_length=60)] = ""
    departments: Annotated[list[str], Field(min_length=1, max_length=20)]
    supervises: Codes
    person: DevCitizen | None = None
    linked: bool = True


class DevOperator(Body):
    """A hall operator or hotline agent, the channels they file through, and whom they serve now."""

    subject: Subject
    channels: Annotated[list[str], Field(min_length=1, max_length=20)]
    acting_for: DevCitizen | None = None


class DevClerk(Body):
    """Somebody who acts for an organisation."""

    subject: Subject
    organisation: Annotated[str, Field(pattern=r"^[0-9A-Z]{18}$")]
    person: DevCitizen


class DevClient(Body):
    """A client program, and the channels it files through."""

    subject: Subject
    channels: Annotated[list[str], Field(min_length=1, max_length=20)]


class DevPerson(Body):
    """One line of the list of test officers."""

    key: str
    name: str
    departments: list[str]
    role_zh: str
    role_en: str


PEOPLE = tuple(
    DevPerson(
        key=f"officer-{n}",
        name=f"{n}号工作人员",
        departments=["xihu-community", "xihu-police"],
        role_zh="社区与公安居住登记窗口工作人员",
        role_en="officer of the community and residence desks",
    )
    for n in (1, 2)
)
"""The test officers of the demo's departments. Citizens say who they are, and become known so."""


def is_on(settings: Settings) -> bool:
    """Only where it was switched on."""
    return settings.dev_identity


def ways(settings: Section) -> list[Way]:
    """Its page."""
    return [WAY]


def verifies(settings: Section) -> tuple[ContactKind, ...]:
    """It takes what it is told as verified; nobody else can verify anything by it."""
    return ()


def router(desk: LogInDesk) -> APIRouter:
    """Its doors."""
    root = doors(include_in_schema=False)
    root.include_router(_tokens(desk))
    root.include_router(_pages(desk))
    return root


def _tokens(desk: LogInDesk) -> APIRouter:
    """Tokens of every kind, for programs and tests."""
    router = doors("/dev/tokens")

    @router.post("/citizen")
    def citizen_token(request: Request, body: DevCitizen) -> Response:
        """A token for a citizen, who becomes known to intake."""
        return desk.token(request, desk.open(_PROOF, lambda unit: _citizen(unit, body)))

    @router.post("/officer")
    def officer_token(request: Request, body: DevOfficer) -> Response:
        """A token for an officer, whose account becomes what is said."""
        return desk.token(request, desk.open(_PROOF, lambda unit: _officer(unit, body)))

    @router.post("/operator")
    def operator_token(request: Request, body: DevOperator) -> Response:
        """A token for an operator, and for whom they act."""
        return desk.token(request, desk.open(_PROOF, lambda unit: _operator(unit, body)))

    @router.post("/clerk")
    def clerk_token(request: Request, body: DevClerk) -> Response:
        """A token for an organisation's clerk."""

        def who(unit: Unit) -> Principal:
            person = _person(unit, body.person)
            office = Office(PrincipalKind.CLERK, body.subject, person, body.organisation)
            return office.principal(set_account(unit, office, BY), name=body.person.name)

        return desk.token(request, desk.open(_PROOF, who))

    @router.post("/client")
    def client_token(request: Request, body: DevClient) -> Response:
        """A token for a client program."""

        def who(unit: Unit) -> Principal:
            office = Office(PrincipalKind.CLIENT, body.subject, channels=tuple(body.channels))
            return office.principal(set_account(unit, office, BY))

        return desk.token(request, desk.open(_PROOF, who))

    return router


def _pages(desk: LogInDesk) -> APIRouter:
    """The page, for people."""
    router = doors("/dev")

    @router.get("/login")
    def login_page(request: Request) -> Response:
        """Pick a test person, or say who you are."""
        return page(desk.context.pages, request, "dev_login.html", _values())

    @router.post("/login")
    def log_in(request: Request, person: Annotated[str, Form()]) -> Response:
        """Be the chosen test officer in this browser."""
        check_same_origin(request)
        chosen = next((one for one in PEOPLE if one.key == person), None)
        if chosen is None:
            raise NoSuchLogIn
        body = DevOfficer(subject=chosen.key, name=chosen.name, departments=chosen.departments, supervises=[])
        return desk.let_in(request, desk.open(_PROOF, lambda unit: _officer_as_is(unit, body)))

    @router.post("/login/citizen")
    def log_in_citizen(
        request: Request, name: Annotated[str, Form()], id_number: Annotated[str, Form()]
    ) -> Response:
        """Be this person in this browser, and become known to intake; or the form again."""
        check_same_origin(request)
        try:
            body = _dev_citizen(name, id_number)
            citizen = desk.open(_PROOF, lambda unit: _citizen(unit, body))
        except Invalid as error:
            values = _values(problem_of(request, error), name)
            return page(
                desk.context.pages, request, "dev_login.html", values, status=error.status, back="/dev/login"
            )
        return desk.let_in(request, citizen)

    @router.post("/login/operator")
    def log_in_operator(
        request: Request, name: Annotated[str, Form()], id_number: Annotated[str, Form()]
    ) -> Response:
        """Be the test operator of the counter in this browser, and serve this person; or the form again."""
        check_same_origin(request)
        try:
            served = _dev_citizen(name, id_number)
            body = DevOperator(subject=COUNTER, channels=["counter"], acting_for=served)
            operator = desk.open(_PROOF, lambda unit: _operator(unit, body))
        except Invalid as error:
            values = _values(problem_of(request, error), name, serving=True)
            return page(
                desk.context.pages, request, "dev_login.html", values, status=error.status, back="/dev/login"
            )
        return desk.let_in(request, operator)

    return router


def _values(problem: Problem | None = None, name: str = "", *, serving: bool = False) -> dict[str, Any]:
    return {"people": PEOPLE, "problem": problem, "name": name, "serving": serving}


def _dev_citizen(name: str, id_number: str) -> DevCitizen:
    try:
        return DevCitizen(name=name, id_number=id_number)
    except ValidationError as error:
        raise Invalid(fields=field_errors([dict(found) for found in error.errors()])) from None


def _citizen(unit: Unit, body: DevCitizen) -> Principal:
    person_ref = _person(unit, body)
    return Principal(PrincipalKind.CITIZEN, str(person_ref), person_ref=person_ref, name=body.name)


def _person(unit: Unit, body: DevCitizen) -> UUID:
    """The person, known to intake from now on. Raises Invalid for a wrong ID number or contact."""
    problem = check_id_number(body.id_number, legal_day(unit.legal))
    if problem is not None:
        raise Invalid(
            fields=[
                FieldError(
                    "/id_number", f"id-number.{problem}", "身份证件号码有误。", "This ID number is wrong."
                )
            ]
        )
    phone = _contact(ContactKind.PHONE, body.phone)
    email = _contact(ContactKind.EMAIL, body.email)
    return register_person(unit, NamedPerson(body.name, body.id_number, phone, email), _SOURCE)


def _contact(kind: ContactKind, typed: str | None) -> str | None:
    """In the spelling that we keep. Raises Invalid for what nothing can be sent to."""
    found = clean_contact(kind, typed, f"/{kind}") if typed else None
    if isinstance(found, FieldError):
        raise Invalid(fields=[found])
    return found


def _operator(unit: Unit, body: DevOperator) -> Principal:
    served = _person(unit, body.acting_for) if body.acting_for else None
    office = Office(PrincipalKind.OPERATOR, body.subject, channels=tuple(body.channels))
    return office.principal(set_account(unit, office, BY), acting_for=served)


def _officer(unit: Unit, body: DevOfficer) -> Principal:
    office = _office(unit, body)
    return office.principal(set_account(unit, office, BY), name=body.name)


def _officer_as_is(unit: Unit, body: DevOfficer) -> Principal:
    """By the account as it is: a click on the page gives nobody back what was taken from them."""
    office, version = open_account(unit, _office(unit, body), BY)
    return office.principal(version, name=body.name)


def _office(unit: Unit, body: DevOfficer) -> Office:
    return Office(
        PrincipalKind.OFFICER,
        body.subject,
        _who_it_is(unit, body),
        departments=tuple(body.departments),
        supervises=tuple(body.supervises),
    )


def _who_it_is(unit: Unit, body: DevOfficer) -> UUID | None:
    if body.person is not None:
        return _person(unit, body.person)
    return uuid5(NAMESPACE_URL, f"onestop:development/officer/{body.subject}") if body.linked else None
