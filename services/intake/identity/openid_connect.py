"""Log-in by OpenID Connect: citizens at one provider, such as the national identity platform, and officers at
another, such as their administration's single sign-on.

A citizen's provider gives a verified name and ID number. An officer's gives the subject of their account:
what they may do stands here (`accounts`), never there.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from pydantic import Field, SecretStr, model_validator
from starlette.responses import RedirectResponse, Response

from services.intake.identity._openid import (
    Client,
    Flow,
    LogInRefused,
    LogoutTokenWrong,
    OpenIdProvider,
)
from services.intake.identity.accounts import office_of
from services.intake.identity.attributes import Source
from services.intake.identity.persons import register_person
from services.intake.identity.provider import LogInDesk, Origin, Way, forget_here
from services.intake.identity.sessions import Proof, end_sessions_at
from services.intake.rules.contacts import ContactKind, clean_contact
from services.intake.rules.identity import check_id_number
from services.intake.rules.submission import NamedPerson
from shared.auth.principal import Assurance, Principal, PrincipalKind
from shared.bus.unit import Unit, unit_of
from shared.errors import BadRequest, FieldError, Forbidden
from shared.http.again import runs_again
from shared.http.capacity import in_thread, with_others
from shared.http.doors import doors
from shared.legal_time import legal_day
from shared.sections import Section
from shared.settings import Settings, SettingsError
from shared.typed import clean_text, shows_nothing, turns_around

NAME = "openid_connect"

_COOKIE = "onestop_log_in"
_PATH = "/log-in/openid-connect"
_RETURN_WITHIN_S = 600
_SOURCE = Source(NAME, Assurance.VERIFIED)


class People(StrEnum):
    """Whose provider it is."""

    CITIZENS = "citizens"
    OFFICERS = "officers"


class At(Section):
    """One provider, for citizens or for officers."""

    issuer: str = Field(
        description="issuer, as the provider spells it", examples=["https://login.example.org"]
    )
    client_id: str = Field(description="what the provider calls this hall")
    client_secret: SecretStr = Field(description="the client secret; give it as a file, …_FILE")
    scope: str = Field(
        default="openid profile",
        description="scopes to ask for; citizens: with `email` and `phone`, verified contacts come along",
    )
    subject_claim: str = Field(default="sub", description="officers: the claim with the account's subject")
    name_claim: str = Field(default="name", description="the claim with the name")
    id_number_claim: str = Field(default="id_number", description="citizens: the claim with the ID number")


class OpenIdSettings(Section):
    """`ONESTOP_IDENTITY__OPENID_CONNECT__…`, with `CITIZENS__…` and `OFFICERS__…`."""

    public_url: Origin = Field(
        description="where browsers find this hall", examples=["https://hall.example.org"]
    )
    citizens: At | None = None
    officers: At | None = None

    @model_validator(mode="before")
    @classmethod
    def _nested(cls, given: Any) -> Any:
        """`citizens__issuer` is `issuer` of `citizens`."""
        if not isinstance(given, dict):
            return given
        nested: dict[str, Any] = {}
        for name, value in given.items():
            first, _, rest = name.partition("__")
            if rest:
                nested.setdefault(first, {})[rest] = value
            else:
                nested[name] = value
        return nested

    @model_validator(mode="after")
    def _somebody(self) -> "OpenIdSettings":
        if self.citizens is None and self.officers is None:
            raise ValueError("name a provider for citizens or for officers")
        return self


SETTINGS = OpenIdSettings


class IdentityIncomplete(Forbidden):
    """The provider proved who somebody is and did not say what we need to know them by."""

    code = "auth.identity-incomplete"
    title_zh = "身份认证未提供有效的姓名和身份证件号码"
    title_en = "The log-in service did not give a valid name and ID number"


@dataclass(frozen=True, slots=True)
class Realm:
    """One provider, and how its people become principals."""

    people: People
    at: At
    provider: OpenIdProvider

    @property
    def name(self) -> str:
        """In the names of sessions: the two may call different people the same."""
        return f"{NAME}.{self.people}"

    def who(self, unit: Unit, claims: dict[str, Any]) -> Principal:
        """Whoever the provider says it is. Raises IdentityIncomplete, NoAccount."""
        name = clean_text(str(claims.get(self.at.name_claim, "")))[:60]
        if self.people is People.OFFICERS:
            subject = str(claims.get(self.at.subject_claim, ""))
            office, version = office_of(unit, PrincipalKind.OFFICER, subject)
            return office.principal(version, name=name)
        number = str(claims.get(self.at.id_number_claim, ""))
        is_seen = not (shows_nothing(name) or turns_around(name))
        if not is_seen or check_id_number(number, legal_day(unit.legal)) is not None:
            raise IdentityIncomplete
        phone = _vouched(claims, "phone_number", ContactKind.PHONE)
        email = _vouched(claims, "email", ContactKind.EMAIL)
        person = register_person(unit, NamedPerson(name, number, phone, email), _SOURCE)
        return Principal(PrincipalKind.CITIZEN, str(person), person_ref=person, name=name)


def _vouched(claims: Mapping[str, Any], claim: str, kind: ContactKind) -> str | None:
    """A contact that the provider says it has verified (OpenID Connect Core 1.0 section 5.1)."""
    if claims.get(f"{claim}_verified") is not True:
        return None
    found = clean_contact(kind, str(claims.get(claim, "")))
    return None if isinstance(found, FieldError) else found


def is_on(settings: Settings) -> bool:
    """Where it is set up."""
    return NAME in settings.identity


def ways(settings: Section) -> list[Way]:
    """One for citizens and one for officers."""
    assert isinstance(settings, OpenIdSettings)
    found = []
    if settings.citizens is not None:
        found.append(Way(f"{_PATH}/citizens", "统一身份认证登录（个人）", "Log in as a citizen"))
    if settings.officers is not None:
        found.append(Way(f"{_PATH}/officers", "工作人员登录", "Log in as an officer"))
    return found


def verifies(settings: Section) -> tuple[ContactKind, ...]:
    """What its providers vouch for comes with a log-in."""
    return ()


def router(desk: LogInDesk) -> APIRouter:
    """Its doors: to the provider, back from it, and what it tells us itself."""
    router = doors(include_in_schema=False)
    realms = _realms(desk)
    secure = desk.context.service.settings.web.cookie_secure

    @router.get(f"{_PATH}/{{people}}")
    async def start(people: People) -> Response:
        """To the provider."""
        url, flow = await with_others(_realm(realms, people).provider.start)
        response = RedirectResponse(url, 303)
        response.set_cookie(
            _COOKIE,
            _written(people, flow),
            max_age=_RETURN_WITHIN_S,
            path=_PATH,
            httponly=True,
            samesite="lax",
            secure=secure,
        )
        return response

    @router.get(f"{_PATH}/{{people}}/return")
    async def come_back(request: Request, people: People) -> Response:
        """Back from the provider: in, or refused."""
        realm = _realm(realms, people)
        flow = _read(people, request.cookies.get(_COOKIE))
        claims = await with_others(lambda: realm.provider.finish(flow, dict(request.query_params)))
        sid = claims.get("sid")
        proof = Proof(
            realm.name,
            Assurance.VERIFIED,
            sub=claims["sub"],
            sid=sid if isinstance(sid, str) else None,
        )

        def let_in() -> Response:
            return desk.let_in(request, desk.open(proof, lambda unit: realm.who(unit, claims)))

        # Not the whole door again: what came back from the provider is good for one time.
        response: Response = await in_thread(runs_again(let_in))
        response.delete_cookie(_COOKIE, path=_PATH, httponly=True, samesite="lax", secure=secure)
        return response

    @router.post(f"{_PATH}/{{people}}/log-out")
    async def told_to_log_out(
        request: Request, people: People, logout_token: Annotated[str, Form()]
    ) -> Response:
        """The provider itself says that a log-in is over (back-channel log-out)."""
        realm = _realm(realms, people)
        try:
            sub, sid = await with_others(lambda: realm.provider.logged_out(logout_token))
        except LogoutTokenWrong:
            raise BadRequest(detail_en="this is not a log-out of ours") from None

        def end() -> None:
            with unit_of(desk.context.service, "session.end") as unit:
                ended = end_sessions_at(unit, realm.name, sub=sub, sid=sid)
            forget_here(request, ended, logged_out=False)

        await in_thread(end)
        return Response(status_code=200, headers={"Cache-Control": "no-store"})

    return router


def _realms(desk: LogInDesk) -> dict[People, Realm]:
    settings = desk.settings
    assert isinstance(settings, OpenIdSettings)
    given = {People.CITIZENS: settings.citizens, People.OFFICERS: settings.officers}
    production = desk.context.service.settings.environment == "production"
    found = {}
    for people, at in given.items():
        if at is None:
            continue
        if production and not at.issuer.startswith("https://"):
            variable = f"ONESTOP_IDENTITY__OPENID_CONNECT__{people.upper()}__ISSUER"
            raise SettingsError("", f"{variable}: must begin with https:// in production")
        client = Client(
            issuer=at.issuer,
            client_id=at.client_id,
            client_secret=at.client_secret.get_secret_value(),
            redirect_uri=f"{settings.public_url}{_PATH}/{people}/return",
            scope=at.scope,
        )
        found[people] = Realm(people, at, OpenIdProvider(client))
    return found


def _realm(realms: dict[People, Realm], people: People) -> Realm:
    if people not in realms:
        raise LogInRefused
    return realms[people]


def _written(people: People, flow: Flow) -> str:
    # Not sealed: it is this browser's own, and says nothing about anybody.
    return urlsafe_b64encode(json.dumps({"people": people, **asdict(flow)}).encode()).decode()


def _read(people: People, cookie: str | None) -> Flow:
    try:
        found = json.loads(urlsafe_b64decode((cookie or "").encode()))
        if found.pop("people") != people:
            raise LogInRefused
        return Flow(**{name: str(value).encode("ascii").decode() for name, value in found.items()})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise LogInRefused from None
