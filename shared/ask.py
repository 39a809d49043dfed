"""Asking another service for what it owns: in this process by a call, else over its internal HTTP API.

Questions and answers are JSON objects in both cases, so that what works in one process works in two. No
session may be open while asking: the answer can take 2 s.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import structlog

from shared.errors import (
    AppError,
    BadRequest,
    Conflict,
    FieldError,
    Forbidden,
    Invalid,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
    Unavailable,
)
from shared.peers import MayAsk, check_may_ask, peer_token
from shared.privacy.secret_files import SERVICE_TOKEN, load_secret
from shared.settings import Settings
from shared.tracing import current_traceparent

Params = dict[str, Any]
QuestionHandler = Callable[[Params], Params]
_TIMEOUT_S = 2.0
# An answer with this member is the owner's own refusal, not a broken peer.
REFUSAL = "refused"
_BY_STATUS: dict[int, type[AppError]] = {
    cls.status: cls
    for cls in (
        BadRequest,
        Forbidden,
        NotFound,
        Conflict,
        PreconditionFailed,
        Invalid,
        PreconditionRequired,
        Unavailable,
    )
}
_log = structlog.get_logger()


class PeerUnavailable(Unavailable):
    """The owner of a question does not answer; the details name it."""

    code = "peer.unavailable"
    title_zh = "相关服务暂时不可用，请稍后再试"
    title_en = "A service that we need is not available for the moment; try again later"


class Asker:
    """Asks in the name of one service. It knows which owners live in this process, what may be asked of them
    (elsewhere the owner decides), and where the others are. Close it at the end."""

    def __init__(
        self,
        settings: Settings,
        service: str,
        local: Mapping[str, Mapping[str, QuestionHandler]],
        may_ask: MayAsk,
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._service = service
        self._local = local
        self._may_ask = may_ask
        self._peers = {owner: url.rstrip("/") for owner, url in settings.peers.items()}
        self._token = load_secret(settings, service, SERVICE_TOKEN)
        # trust_env off: a proxy meant for the internet must not see what services tell each other.
        self._client = httpx.Client(timeout=_TIMEOUT_S, trust_env=False, transport=transport)

    def ask(self, owner: str, question: str, params: Params) -> Params:
        """The owner's answer. Raises what the owner raised, MayNotAsk, or PeerUnavailable when it cannot be
        reached."""
        if owner in self._local:
            answer = self._local[owner].get(question)
            if answer is None:
                raise _away(owner, question, "it has no such question")
            check_may_ask(self._may_ask, self._service, owner, question)
            return _as_json(answer(_as_json(params)))
        if owner not in self._peers:
            raise _away(owner, question, f"it is neither here nor in ONESTOP_PEERS__{owner.upper()}")
        return self._ask_peer(owner, question, params)

    def close(self) -> None:
        """Close the connections to peers."""
        self._client.close()

    def _ask_peer(self, owner: str, question: str, params: Params) -> Params:
        headers = {"Authorization": f"Bearer {peer_token(self._token, owner)}"}
        if traceparent := current_traceparent():
            headers["traceparent"] = traceparent
        url = f"{self._peers[owner]}/internal/v1/{owner}/{question}"
        try:
            response = self._client.post(url, json=params, headers=headers)
            body = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise _away(owner, question, type(error).__name__) from None
        if not isinstance(body, dict):
            raise _away(owner, question, "its answer is no object")
        if isinstance(body.get(REFUSAL), dict):
            raise _refusal_of(body[REFUSAL])
        if response.status_code != 200:
            raise _away(owner, question, f"status {response.status_code}")
        return body


def _as_json(value: Params) -> Params:
    plain: Params = json.loads(json.dumps(value))
    return plain


def _away(owner: str, question: str, reason: str) -> PeerUnavailable:
    _log.warning("peer_unavailable", owner=owner, question=question, reason=reason)
    return PeerUnavailable(
        f"服务 {owner} 未能答复", f"the service {owner} did not answer", members={"owner": owner}
    )


def _refusal_of(written: Params) -> AppError:
    # The owner's class may not be loaded here, so the common class of its status carries the owner's words.
    error = _BY_STATUS.get(written["status"], AppError)(
        written["detail_zh"],
        written["detail_en"],
        fields=[FieldError(*field) for field in written["fields"]],
        members=written["members"],
    )
    error.code, error.status = written["code"], written["status"]
    error.title_zh, error.title_en = written["title_zh"], written["title_en"]
    return error
