"""The other end of `shared.ask`: the internal HTTP API of a service.

Apart from it, because workers ask too and need no web framework for that.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Body, Form, Request, UploadFile
from starlette.responses import JSONResponse, Response

from shared.ask import REFUSAL, GivesFile, Params, Question, QuestionHandler, TakesFile
from shared.db.outages import DatabaseAway
from shared.errors import AppError
from shared.http.doors import Admission, doors, in_turn, takes
from shared.http.downloads import between_services
from shared.http.request_body import sealed_file_of
from shared.peers import MayAsk, MayNotAsk, Peers, check_may_ask

_QUESTION_BYTES = 1024 * 1024


def internal_router(
    owner: str, answers: Mapping[str, Question], may_ask: MayAsk, peers: Peers, *, most_file_bytes: int
) -> APIRouter:
    """The internal HTTP API of one service: POST /internal/v1/<owner>/<question>, for those who may ask it.

    Each question is a route of its own. A file comes as the part `file` of a form, the rest as its field
    `params`.
    """
    router = doors(f"/internal/v1/{owner}", include_in_schema=False)
    for question, answer in answers.items():
        admit = _admission(peers, may_ask, owner, question)
        endpoint = _endpoint(answer, admit, most_file_bytes + _QUESTION_BYTES)
        router.add_api_route(f"/{question}", endpoint, methods=["POST"], response_model=None)
    return router


def _admission(peers: Peers, may_ask: MayAsk, owner: str, question: str) -> Admission:
    async def admit(request: Request) -> None:
        check_may_ask(may_ask, peers.asker_of(request.headers.get("authorization")), owner, question)

    return admit


def _endpoint(answer: Question, admit: Admission, most_bytes: int) -> Callable[..., Any]:
    # Not async: answers read the database, so the framework gives each a thread.
    if isinstance(answer, TakesFile):

        @takes(most_bytes, files=1, admission=admit)
        async def take_file(params: Annotated[str, Form()], file: UploadFile) -> Response:
            brought = sealed_file_of(file)

            def store() -> Response:
                return JSONResponse(answer.answer(json.loads(params), brought))

            return await in_turn(partial(_respond, store))

        return take_file
    if isinstance(answer, GivesFile):

        @takes(_QUESTION_BYTES, admission=admit)
        def give_file(params: Annotated[Params, Body()]) -> Response:
            return _respond(lambda: between_services(answer.answer(params)))

        return give_file
    plain: QuestionHandler = answer

    @takes(_QUESTION_BYTES, admission=admit)
    def answer_question(params: Annotated[Params, Body()]) -> Response:
        return _respond(lambda: JSONResponse(plain(params)))

    return answer_question


async def refuse_asker(_: Request, error: Exception) -> Response:
    """Exception handler: what the owner itself refuses is told as such, also before a body is read."""
    if not isinstance(error, MayNotAsk):
        raise error
    return _refusal(error)


def _respond(make: Callable[[], Response]) -> Response:
    try:
        return make()
    except AppError as error:
        # An outage is no refusal: it is run again, or answered as at any other door.
        if error.status == 500 or isinstance(error, DatabaseAway):
            raise
        return _refusal(error)


def _refusal(error: AppError) -> Response:
    return JSONResponse({REFUSAL: _written(error)}, error.status)


def _written(error: AppError) -> Params:
    return {
        "code": error.code,
        "status": error.status,
        "title_zh": error.title_zh,
        "title_en": error.title_en,
        "detail_zh": error.detail_zh,
        "detail_en": error.detail_en,
        "fields": [[f.pointer, f.code, f.message_zh, f.message_en] for f in error.fields],
        "members": error.members,
    }
