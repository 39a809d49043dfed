"""The other end of `shared.ask`: the internal HTTP API of a service.

Apart from it, because workers ask too and need no web framework for that.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Request
from starlette.responses import JSONResponse, Response

from shared.ask import REFUSAL, Params, QuestionHandler
from shared.db.outages import DatabaseAway
from shared.errors import AppError
from shared.http.again import doors
from shared.peers import MayAsk, Peers, check_may_ask


def internal_router(
    owner: str, answers: Mapping[str, QuestionHandler], may_ask: MayAsk, peers: Peers
) -> APIRouter:
    """The internal HTTP API of one service: POST /internal/v1/<owner>/<question>, for those who may ask it.

    Each question is a route of its own.
    """
    router = doors(f"/internal/v1/{owner}", include_in_schema=False)
    for question, answer in answers.items():
        admit = partial(check_may_ask, may_ask, owner=owner, question=question)
        router.add_api_route(
            f"/{question}", _endpoint(answer, peers, admit), methods=["POST"], response_model=None
        )
    return router


def _endpoint(answer: QuestionHandler, peers: Peers, admit: Callable[..., None]) -> Callable[..., Response]:
    def asker_of(request: Request) -> str:
        return peers.asker_of(request.headers.get("authorization"))

    # Not async: answers read the database, so the framework gives each a thread.
    def answer_question(
        asker: Annotated[str, Depends(asker_of)], params: Annotated[Params, Body()]
    ) -> Response:
        try:
            admit(asker=asker)
            return JSONResponse(answer(params))
        except AppError as error:
            # An outage is no refusal: it is run again, or answered as at any other door.
            if error.status == 500 or isinstance(error, DatabaseAway):
                raise
            return JSONResponse({REFUSAL: _written(error)}, error.status)

    return answer_question


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
