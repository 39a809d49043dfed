"""The other end of `shared.ask`: the internal HTTP API of a service.

Apart from it, because workers ask too and need no web framework for that.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Form, Request, UploadFile
from starlette.responses import JSONResponse, Response

from shared.ask import REFUSAL, GivesFile, Params, Question, QuestionHandler, TakesFile
from shared.db.outages import DatabaseAway
from shared.errors import AppError
from shared.http.doors import doors, in_turn, takes
from shared.http.downloads import between_services
from shared.http.request_body import sealed_file_of
from shared.peers import MayAsk, Peers, check_may_ask

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
        admit = _admission(may_ask, owner, question)
        router.add_api_route(
            f"/{question}",
            _endpoint(answer, peers, admit, most_file_bytes + _QUESTION_BYTES),
            methods=["POST"],
            response_model=None,
        )
    return router


def _admission(may_ask: MayAsk, owner: str, question: str) -> Callable[[str], None]:
    def admit(asker: str) -> None:
        check_may_ask(may_ask, asker, owner, question)

    return admit


def _endpoint(
    answer: Question, peers: Peers, admit: Callable[[str], None], most_bytes: int
) -> Callable[..., Any]:
    def asker_of(request: Request) -> str:
        return peers.asker_of(request.headers.get("authorization"))

    async def know_asker(request: Request) -> None:
        asker_of(request)

    Asker = Annotated[str, Depends(asker_of)]

    # Not async: answers read the database, so the framework gives each a thread.
    if isinstance(answer, TakesFile):

        @takes(most_bytes, files=1, admission=know_asker)
        async def take_file(asker: Asker, params: Annotated[str, Form()], file: UploadFile) -> Response:
            brought = sealed_file_of(file)

            def store() -> Response:
                return JSONResponse(answer.answer(json.loads(params), brought))

            return await in_turn(partial(_respond, partial(admit, asker), store))

        return take_file
    if isinstance(answer, GivesFile):

        @takes(_QUESTION_BYTES, admission=know_asker)
        def give_file(asker: Asker, params: Annotated[Params, Body()]) -> Response:
            return _respond(partial(admit, asker), lambda: between_services(answer.answer(params)))

        return give_file
    plain: QuestionHandler = answer

    @takes(_QUESTION_BYTES, admission=know_asker)
    def answer_question(asker: Asker, params: Annotated[Params, Body()]) -> Response:
        return _respond(partial(admit, asker), lambda: JSONResponse(plain(params)))

    return answer_question


def _respond(admit: Callable[[], None], make: Callable[[], Response]) -> Response:
    try:
        admit()
        return make()
    except AppError as error:
        # An outage is no refusal: it is run again, or answered as at any other door.
        if error.status == 500 or isinstance(error, DatabaseAway):
            raise
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
