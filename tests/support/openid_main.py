"""A foreign OpenID provider in a process of its own: `oidc-provider-mock`, which insists on PKCE here, and
can be told to change its key and to say that somebody has logged out.

python -m tests.support.openid_main PORT
"""

import sys
import time
import warnings
from typing import Any, ClassVar
from uuid import uuid4

# The provider still uses what its own library advises against.
warnings.simplefilter("ignore")

from authlib import jose  # noqa: E402  (the warnings must be silenced first)
from authlib.oauth2.rfc6749.errors import InvalidRequestError  # noqa: E402
from authlib.oauth2.rfc7636 import CodeChallenge  # noqa: E402
from oidc_provider_mock import _app as foreign  # noqa: E402

flask = foreign.flask
LOGOUT = "http://schemas.openid.net/event/backchannel-logout"


def main(port: int) -> None:
    """Serve until killed."""
    _insist_on_pkce()
    app = foreign.app(require_client_registration=True, require_nonce=True)
    app.debug = False

    def new_key() -> str:
        foreign.storage.jwk = jose.RSAKey.generate_key(is_private=True)
        return ""

    def logout_token() -> str:
        """A logout token of ours but for what the body changes; null takes a claim away."""
        asked = flask.request.get_json()
        now = int(time.time())
        claims = {
            "iss": flask.request.host_url.rstrip("/"),
            "iat": now,
            "exp": now + 120,
            "jti": str(uuid4()),
            "events": {LOGOUT: {}},
            **asked,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": "RS256", "typ": "logout+jwt"}
        return str(jose.jwt.encode(header, claims, foreign.storage.jwk).decode())

    app.add_url_rule("/test/new-key", view_func=new_key, methods=["POST"])
    app.add_url_rule("/test/logout-token", view_func=logout_token, methods=["POST"])
    app.run("127.0.0.1", port, threaded=True)


class Pkce(CodeChallenge):  # type: ignore[misc]
    """The library's own check, for a provider that keeps no challenges: without S256 nobody begins."""

    challenges: ClassVar[dict[str, str]] = {}

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        sent = flask.request.args
        if sent.get("code_challenge_method") != "S256" or not sent.get("code_challenge"):
            raise InvalidRequestError("Missing 'code_challenge'")
        super().validate_code_challenge(grant, redirect_uri)

    def get_authorization_code_challenge(self, authorization_code: Any) -> str | None:
        return self.challenges.get(authorization_code.code)

    def get_authorization_code_challenge_method(self, authorization_code: Any) -> str:
        return "S256"


def _insist_on_pkce() -> None:
    save = foreign.AuthorizationCodeGrant.save_authorization_code
    register = foreign.flask_oauth2.AuthorizationServer.register_grant

    def save_with_challenge(self: Any, code: str, request: Any) -> None:
        save(self, code, request)
        Pkce.challenges[code] = flask.request.args["code_challenge"]

    def register_with_pkce(self: Any, grant: Any, extensions: Any = None) -> None:
        more = [Pkce(required=True)] if grant is foreign.AuthorizationCodeGrant else []
        register(self, grant, [*(extensions or []), *more])

    foreign.AuthorizationCodeGrant.save_authorization_code = save_with_challenge
    foreign.flask_oauth2.AuthorizationServer.register_grant = register_with_pkce


if __name__ == "__main__":
    main(int(sys.argv[1]))
