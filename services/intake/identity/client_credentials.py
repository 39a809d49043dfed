"""Client programs log in by what they sign: OAuth 2.0 client credentials (RFC 6749 section 4.4) with a JWT of
the program's private key (RFC 7523 section 2.2). Nobody shares a secret with us.

What a program may do stands in its account; its keys are registered by operators (`onestop account add-key`).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import structlog
from fastapi import APIRouter, Form, Request
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jws import extract_compact
from pydantic import Field
from starlette.responses import JSONResponse, Response

from services.intake.errors import NoAccount
from services.intake.identity.accounts import is_subject, office_of
from services.intake.identity.client_keys import PublicKey, keys_of, spend_assertion
from services.intake.identity.provider import LogInDesk, Origin, Way
from services.intake.identity.sessions import Proof
from services.intake.rules.contacts import ContactKind
from shared.auth.deps import authenticator
from shared.auth.principal import Assurance, Principal, PrincipalKind
from shared.bus.unit import Unit, unit_of
from shared.errors import BadRequest, Unauthenticated
from shared.http.answers import Answer
from shared.http.doors import doors, raises
from shared.sections import Section
from shared.settings import Settings

NAME = "client_credentials"
TOKEN_PATH = "/api/v1/token"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LASTS = timedelta(minutes=15)
"""A program asks again without anybody's help: what is stolen from it is of use for so long."""
_ALGORITHMS = ("ES256", "Ed25519", "EdDSA", "PS256", "RS256")
"""Signatures by a key of the program's own. Never "none", never a shared secret."""
_LONGEST_ASSERTION = 4096
_LONGEST_LIFE_S = 3600
"""As long as common libraries sign for; what was used is remembered for a day."""
_LEEWAY_S = 30
_LONGEST_JTI = 200
_PROOF = Proof(NAME, Assurance.VERIFIED)
_log = structlog.get_logger()


class ClientRefused(Unauthenticated):
    """Not signed by a key of a program that may log in here, not for us, too old, or used before. The answer
    does not say which."""

    code = "auth.client-refused"
    title_zh = "客户端身份验证未通过"
    title_en = "This client program was not let in"


class GrantUnsupported(BadRequest):
    """Only client credentials with a signed JWT are taken."""

    code = "auth.grant-unsupported"
    title_zh = "不支持此授权方式"
    title_en = "This grant is not supported"


class ScopeNotGranted(BadRequest):
    """The program asks for a channel that its account does not have."""

    code = "auth.scope-not-granted"
    title_zh = "客户端未获准使用所请求的渠道"
    title_en = "This client program may not use a channel that it asks for"


class ClientCredentialsSettings(Section):
    """`ONESTOP_IDENTITY__CLIENT_CREDENTIALS__…`"""

    public_url: Origin = Field(
        description="where programs find this hall; `aud` of what they sign is this or its token endpoint",
        examples=["https://hall.example.org"],
    )


SETTINGS = ClientCredentialsSettings


class AccessToken(Answer):
    """A session token of a client program (RFC 6749 section 5.1)."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: Annotated[int, Field(description="seconds", examples=[900])]
    scope: Annotated[str, Field(description="the channels that it files through", examples=["app kiosk"])]


def is_on(settings: Settings) -> bool:
    """Where it is set up."""
    return NAME in settings.identity


def ways(settings: Section) -> list[Way]:
    """Programs see no page."""
    return []


def verifies(settings: Section) -> tuple[ContactKind, ...]:
    """Programs have no contacts."""
    return ()


def router(desk: LogInDesk) -> APIRouter:
    """The token endpoint."""
    router = doors()
    settings = desk.settings
    assert isinstance(settings, ClientCredentialsSettings)
    audiences = (settings.public_url, settings.public_url + TOKEN_PATH)

    @router.post(TOKEN_PATH, response_model=AccessToken)
    @raises(ClientRefused, GrantUnsupported, ScopeNotGranted)
    def issue_token(
        request: Request,
        grant_type: Annotated[str, Form(max_length=100, examples=["client_credentials"])],
        client_assertion_type: Annotated[str, Form(max_length=100, examples=[ASSERTION_TYPE])],
        client_assertion: Annotated[str, Form(max_length=_LONGEST_ASSERTION)],
        client_id: Annotated[str | None, Form(max_length=100)] = None,
        scope: Annotated[str | None, Form(max_length=1000)] = None,
    ) -> Response:
        """Exchange what a program has signed for a token that is good for a quarter of an hour."""
        if grant_type != "client_credentials" or client_assertion_type != ASSERTION_TYPE:
            raise GrantUnsupported(members={"error": "unsupported_grant_type"})
        signed = _proven(desk, client_assertion, audiences)
        if client_id not in (None, "", signed.client):
            raise _refused("another client_id")
        program = desk.open(_PROOF, lambda unit: _program(unit, signed, scope or ""), LASTS)
        lasts_s = int(LASTS.total_seconds())
        answer = AccessToken(
            access_token=authenticator(request).issue(program, lasts_s),
            token_type="Bearer",
            expires_in=lasts_s,
            scope=" ".join(program.channels),
        )
        return JSONResponse(answer.model_dump(), headers={"Cache-Control": "no-store"})

    return router


@dataclass(frozen=True, slots=True)
class Signed:
    """A statement that a key of this program signed, for us and not long ago; `jti` is its own name, `kid`
    the key's (RFC 7638)."""

    client: str
    jti: str
    kid: str


def _program(unit: Unit, signed: Signed, scope: str) -> Principal:
    """Who has signed. Raises ClientRefused for what comes again, a removed key and a closed account, and
    ScopeNotGranted."""
    try:
        office, version = office_of(unit, PrincipalKind.CLIENT, signed.client)
    except NoAccount:
        raise _refused("no open account") from None
    # The account is locked: a key that was removed since the signature was checked opens nothing.
    if signed.kid not in {key.thumbprint() for key in keys_of(unit, signed.client)}:
        raise _refused("key removed")
    # In the transaction of the session: what came to nothing may be sent again.
    if not spend_assertion(unit, signed.client, signed.jti):
        raise _refused("used before")
    if not set(scope.split()) <= set(office.channels):
        raise ScopeNotGranted(members={"error": "invalid_scope"})
    return office.principal(version)


def _proven(desk: LogInDesk, assertion: str, audiences: Sequence[str]) -> Signed:
    """Raises ClientRefused. No session with the database is held while signatures are checked."""
    client = _named(assertion)
    with unit_of(desk.context.service, "client.keys") as unit:
        keys = keys_of(unit, client)
    claims, kid = _claims(assertion, keys)
    registry = jwt.JWTClaimsRegistry(
        now=_now(),
        leeway=_LEEWAY_S,
        iss={"essential": True, "value": client},
        sub={"essential": True, "value": client},
        aud={"essential": True, "values": list(audiences)},
        exp={"essential": True},
        jti={"essential": True},
    )
    try:
        registry.validate(claims)
    except (JoseError, ValueError, TypeError) as error:
        raise _refused(type(error).__name__) from None
    jti = claims["jti"]
    if not isinstance(jti, str) or not 1 <= len(jti) <= _LONGEST_JTI or not jti.isprintable():
        raise _refused("no jti")
    if claims["exp"] > _now() + _LONGEST_LIFE_S + _LEEWAY_S:
        raise _refused("lives too long")
    return Signed(client, jti, kid)


def _named(assertion: str) -> str:
    """Which program says that it signed this; nothing is believed yet. Raises ClientRefused."""
    try:
        claims = json.loads(extract_compact(assertion.encode()).payload)
    except (JoseError, ValueError, TypeError, KeyError, RecursionError):
        raise _refused("no JWT") from None
    client = claims.get("iss") if isinstance(claims, dict) else None
    if not isinstance(client, str) or not is_subject(client):
        raise _refused("no issuer")
    return client


def _claims(assertion: str, keys: Sequence[PublicKey]) -> tuple[dict[str, Any], str]:
    """What a token signed with one of these keys says, and which key. Never one that the header brings or
    points to."""
    for key in keys:
        try:
            return dict(jwt.decode(assertion, key, algorithms=list(_ALGORITHMS)).claims), key.thumbprint()
        except (JoseError, ValueError, TypeError, KeyError, RecursionError):
            continue
    raise _refused("signed by no key of a program")


def _refused(why: str) -> ClientRefused:
    # Not who it says it is: that is a stranger's word.
    _log.warning("client_refused", why=why)
    return ClientRefused(members={"error": "invalid_client"})


def _now() -> int:
    return int(datetime.now(UTC).timestamp())
