"""The client's side of OpenID Connect: discovery, the authorization code flow with PKCE, whose word a token
is, and log-outs that the provider tells us of.

OpenID Connect Core 1.0, Discovery 1.0, Back-Channel Logout 1.0; RFC 7636, RFC 9207.
"""

import hmac
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import structlog
from authlib.common.security import generate_token
from authlib.oauth2.client import OAuth2Client
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from shared.errors import Unauthenticated, Unavailable

_ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")
"""Signatures by keys of the provider's own. Never "none", never a shared secret."""
_LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
_TIMEOUT_S = 5.0
_METADATA_FOR_S = 3600.0
# A stranger may send tokens with keys that nobody has, as often as they like.
_ASK_FOR_STRANGERS_EVERY_S = 10.0
_LEEWAY_S = 30
_log = structlog.get_logger()


class ProviderAway(Unavailable):
    """The identity provider does not answer, or not as one."""

    code = "auth.provider-away"
    title_zh = "统一身份认证暂时不可用，请稍后再试"
    title_en = "The log-in service is not available for the moment; try again later"


class LogInRefused(Unauthenticated):
    """The log-in at the identity provider came to nothing, or was not begun in this browser."""

    code = "auth.log-in-refused"
    title_zh = "登录未完成，请重新登录"
    title_en = "The log-in was not completed; please log in again"


class LogoutTokenWrong(ValueError):
    """Not a log-out that our provider tells us of."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A log-in under way in one browser: what must come back, and what nobody else can know."""

    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True, slots=True)
class Client:
    """How the provider knows us."""

    issuer: str
    client_id: str
    client_secret: str
    redirect_uri: str
    scope: str


class OpenIdProvider:
    """One identity provider, as one client of it sees it. What it says of itself is kept for an hour; its
    keys until it signs with another."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._http = httpx.Client(timeout=_TIMEOUT_S, trust_env=False, follow_redirects=False)
        self._lock = threading.Lock()
        self._metadata: tuple[float, dict[str, Any]] | None = None
        self._keys: KeySet | None = None
        self._asked_for_strangers_at = -_ASK_FOR_STRANGERS_EVERY_S

    def start(self) -> tuple[str, Flow]:
        """Where to send the browser, and what to keep for its return. Raises ProviderAway."""
        flow = Flow(generate_token(48), generate_token(48), generate_token(64))
        url, _ = self._oauth().create_authorization_url(
            self._said("authorization_endpoint"),
            state=flow.state,
            code_verifier=flow.verifier,
            nonce=flow.nonce,
        )
        return str(url), flow

    def finish(self, flow: Flow, returned: Mapping[str, str]) -> dict[str, Any]:
        """The claims of who came back from the provider. Raises LogInRefused, ProviderAway."""
        if not hmac.compare_digest(returned.get("state", "").encode(), flow.state.encode()):
            raise LogInRefused
        if returned.get("iss", self._client.issuer) != self._client.issuer:
            # RFC 9207: another provider's answer, led here.
            raise LogInRefused
        if "code" not in returned:
            raise LogInRefused
        claims = self._id_token(self._exchange(returned["code"], flow.verifier))
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), flow.nonce.encode()):
            raise LogInRefused
        return claims

    def logged_out(self, token: str) -> tuple[str | None, str | None]:
        """Whom, and which of its sessions, the provider has logged out: `sub` and `sid`, one at least.

        Raises LogoutTokenWrong, ProviderAway.
        """
        try:
            claims = self._claims(token, trusted=False)
        except (JoseError, ValueError, TypeError, KeyError, RecursionError):
            raise LogoutTokenWrong from None
        events = claims.get("events")
        sub, sid = claims.get("sub"), claims.get("sid")
        named = [name for name in (sub, sid) if name is not None]
        if not isinstance(events, dict) or _LOGOUT_EVENT not in events or "nonce" in claims or not named:
            raise LogoutTokenWrong
        if not all(isinstance(name, str) for name in named) or not claims.get("jti"):
            raise LogoutTokenWrong
        return sub, sid

    def _oauth(self) -> OAuth2Client:
        return OAuth2Client(
            None,
            self._client.client_id,
            scope=self._client.scope,
            redirect_uri=self._client.redirect_uri,
            code_challenge_method="S256",
        )

    def _exchange(self, code: str, verifier: str) -> str:
        """The ID token for a code."""
        sent = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._client.redirect_uri,
            "code_verifier": verifier,
        }
        us = (self._client.client_id, self._client.client_secret)
        try:
            answer = self._http.post(self._said("token_endpoint"), data=sent, auth=us)
            body = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise _away(error) from None
        if answer.is_server_error:
            raise _away(None)
        if answer.is_error or not isinstance(body, dict) or not isinstance(body.get("id_token"), str):
            raise LogInRefused
        return str(body["id_token"])

    def _id_token(self, token: str) -> dict[str, Any]:
        try:
            claims = self._claims(token, trusted=True)
        except (JoseError, ValueError, TypeError, KeyError, RecursionError):
            raise LogInRefused from None
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if (several or "azp" in claims) and claims.get("azp") != self._client.client_id:
            raise LogInRefused
        if not isinstance(claims.get("sub"), str):
            raise LogInRefused
        return claims

    def _claims(self, token: str, *, trusted: bool) -> dict[str, Any]:
        """What our provider signed for us. `trusted`: the token came from the provider itself, so that an
        unknown key is a new one."""
        allowed = [name for name in self._signs_with() if name in _ALGORITHMS]
        try:
            claims = jwt.decode(token, self._known_keys(), algorithms=allowed).claims
        except (JoseError, ValueError):
            # Its keys may have been changed; what is wrong for another reason is wrong again.
            claims = jwt.decode(token, self._newer_keys(trusted=trusted), algorithms=allowed).claims
        registry = jwt.JWTClaimsRegistry(
            now=int(datetime.now(UTC).timestamp()),
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": self._client.issuer},
            aud={"essential": True, "value": self._client.client_id},
            iat={"essential": True},
            exp={"essential": trusted},
        )
        registry.validate(claims)
        return dict(claims)

    def _signs_with(self) -> list[str]:
        named = self._described().get("id_token_signing_alg_values_supported", ["RS256"])
        return [str(name) for name in named]

    def _known_keys(self) -> KeySet:
        return self._keys if self._keys is not None else self._newer_keys(trusted=True)

    def _newer_keys(self, *, trusted: bool) -> KeySet:
        with self._lock:
            now = time.monotonic()
            if self._keys is not None and not trusted:
                if now - self._asked_for_strangers_at < _ASK_FOR_STRANGERS_EVERY_S:
                    return self._keys
                self._asked_for_strangers_at = now
            found = self._read(self._said("jwks_uri"))
            try:
                self._keys = KeySet.import_key_set(found)
            except (JoseError, ValueError, TypeError, KeyError) as error:
                raise _away(error) from None
            return self._keys

    def _said(self, name: str) -> str:
        value = self._described().get(name)
        if not isinstance(value, str):
            raise _away(None)
        return value

    def _described(self) -> dict[str, Any]:
        """What the provider says of itself (discovery)."""
        now = time.monotonic()
        if self._metadata is None or now - self._metadata[0] > _METADATA_FOR_S:
            url = f"{self._client.issuer.rstrip('/')}/.well-known/openid-configuration"
            found = self._read(url)
            if found.get("issuer") != self._client.issuer:
                raise _away(None)
            self._metadata = (now, found)
        return self._metadata[1]

    def _read(self, url: str) -> Any:
        try:
            answer = self._http.get(url)
            answer.raise_for_status()
            found = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise _away(error) from None
        if not isinstance(found, dict):
            raise _away(None)
        return found


def _away(error: Exception | None) -> ProviderAway:
    _log.warning("identity_provider_away", error=type(error).__name__ if error else "not as agreed")
    return ProviderAway()
