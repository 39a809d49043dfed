"""Asking another service for what it owns: in this process by a call, else over its internal HTTP API.

Questions and answers are JSON objects in both cases, so that what works in one process works in two. No
session may be open while asking: the answer can take 2 s.
"""

import io
import json
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
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
from shared.privacy.sealed_file import PIECE, SealedFile
from shared.privacy.secret_files import SERVICE_TOKEN, load_secret
from shared.settings import Settings
from shared.tracing import current_traceparent

Params = dict[str, Any]
QuestionHandler = Callable[[Params], Params]
_TIMEOUT_S = 2.0
_TAKING_S = 30.0
"""A file is stored before the answer comes."""
_FAILED = (404, 500)
"""The owner is there, and it is this question to which it has no answer."""
# An answer with this member is the owner's own refusal, not a broken peer.
REFUSAL = "refused"
NAME_HEADER = "X-File-Name"
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


@dataclass(frozen=True, slots=True)
class FileAnswer:
    """A file, piece by piece. Whoever does not read it to its end closes `pieces`.

    `name` is a code of the owner's for it, in ASCII.
    """

    media_type: str
    size: int
    pieces: Generator[bytes]
    name: str = ""


@dataclass(frozen=True, slots=True)
class TakesFile:
    """A question that brings a file along: its handler."""

    answer: Callable[[Params, SealedFile], Params]


@dataclass(frozen=True, slots=True)
class GivesFile:
    """A question whose answer is a file: its handler."""

    answer: Callable[[Params], FileAnswer]


Question = QuestionHandler | TakesFile | GivesFile


class PeerUnavailable(Unavailable):
    """The owner of a question does not answer; the details name it."""

    code = "peer.unavailable"
    title_zh = "相关服务暂时不可用，请稍后再试"
    title_en = "A service that we need is not available for the moment; try again later"


class PeerFailed(PeerUnavailable):
    """The owner was reached and has no answer to this: the question hits a mistake of its own, or is newer
    than it. The same about something else may be answered."""


class Asker:
    """Asks in the name of one service. It knows which owners live in this process, what may be asked of them
    (elsewhere the owner decides), and where the others are. Close it at the end."""

    def __init__(
        self,
        settings: Settings,
        service: str,
        local: Mapping[str, Mapping[str, Question]],
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
        if owner not in self._local:
            return self._told(owner, question, self._sent(owner, question, json=params))
        answer = self._here(owner, question)
        assert not isinstance(answer, TakesFile | GivesFile)
        return _as_json(answer(_as_json(params)))

    def hand_over(self, owner: str, question: str, params: Params, file: SealedFile) -> Params:
        """The same with a file, of which no more than a piece is in memory at a time."""
        if owner in self._local:
            answer = self._here(owner, question)
            assert isinstance(answer, TakesFile)
            return _as_json(answer.answer(_as_json(params), file))
        content = ("file", _Reader(file.pieces()), "application/octet-stream")
        response = self._sent(
            owner,
            question,
            data={"params": json.dumps(params)},
            files={"file": content},
            timeout=_TAKING_S,
        )
        return self._told(owner, question, response)

    def fetch(self, owner: str, question: str, params: Params) -> FileAnswer:
        """A file of the owner's. What goes wrong once its pieces come breaks off, and is no answer any
        more."""
        if owner in self._local:
            answer = self._here(owner, question)
            assert isinstance(answer, GivesFile)
            return answer.answer(_as_json(params))
        response = self._sent(owner, question, json=params)
        if response.status_code != 200:
            self._told(owner, question, response)
        media_type, size = response.headers["content-type"], int(response.headers["content-length"])
        return FileAnswer(media_type, size, _pieces_of(response), response.headers[NAME_HEADER])

    def close(self) -> None:
        """Close the connections to peers."""
        self._client.close()

    def _here(self, owner: str, question: str) -> Question:
        answer = self._local[owner].get(question)
        if answer is None:
            raise _away(owner, question, "it has no such question", PeerFailed)
        check_may_ask(self._may_ask, self._service, owner, question)
        return answer

    def _sent(self, owner: str, question: str, **content: Any) -> httpx.Response:
        if owner not in self._peers:
            raise _away(owner, question, f"it is neither here nor in ONESTOP_PEERS__{owner.upper()}")
        headers = {"Authorization": f"Bearer {peer_token(self._token, owner)}"}
        if traceparent := current_traceparent():
            headers["traceparent"] = traceparent
        url = f"{self._peers[owner]}/internal/v1/{owner}/{question}"
        try:
            request = self._client.build_request("POST", url, headers=headers, **content)
            return self._client.send(request, stream=True)
        except httpx.HTTPError as error:
            raise _away(owner, question, type(error).__name__) from None

    def _told(self, owner: str, question: str, response: httpx.Response) -> Params:
        try:
            with closing(response):
                response.read()
            body = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise _away(owner, question, type(error).__name__) from None
        if not isinstance(body, dict):
            raise _away(owner, question, "its answer is no object")
        if isinstance(body.get(REFUSAL), dict):
            raise _refusal_of(body[REFUSAL])
        if response.status_code != 200:
            away = PeerFailed if response.status_code in _FAILED else PeerUnavailable
            raise _away(owner, question, f"status {response.status_code}", away)
        return body


class _Reader(io.RawIOBase):
    """Pieces as a file, which is how the client takes what it sends as part of a form."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)

    def read(self, size: int = -1, /) -> bytes:
        """The next piece, whatever its length; b"" at the end."""
        return next(self._pieces, b"")


def _pieces_of(response: httpx.Response) -> Generator[bytes]:
    with closing(response):
        yield from response.iter_bytes(PIECE)


def _as_json(value: Params) -> Params:
    plain: Params = json.loads(json.dumps(value))
    return plain


def _away(
    owner: str, question: str, reason: str, away: type[PeerUnavailable] = PeerUnavailable
) -> PeerUnavailable:
    _log.warning("peer_unavailable", owner=owner, question=question, reason=reason)
    return away(f"服务 {owner} 未能答复", f"the service {owner} did not answer", members={"owner": owner})


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
