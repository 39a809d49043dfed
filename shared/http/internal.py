"""The other end of `shared.ask`: the internal HTTP API of a service.

Apart from it, because workers ask too and need no web framework for that.
"""

from collections.abc import Callable, Mapping
from typing import Annotated

from fastapi import APIRouter, Body
from starlette.responses import JSONResponse, Response

from shared.ask import REFUSAL, Params, QuestionHandler
from shared.auth.deps import Service
from shared.db.outages import DatabaseAway
from shared.errors import AppError
from shared.http.again import doors


def internal_router(answers: Mapping[str, QuestionHandler]) -> APIRouter:
    """The internal HTTP API of one service: POST /internal/v1/<question>, by service token only.

    Each question is a route of its own, so that several services can live in one app; names must differ.
    """
    router = doors("/internal/v1", include_in_schema=False)
    for question, answer in answers.items():
        router.add_api_route(f"/{question}", _endpoint(answer), methods=["POST"], response_model=None)
    return router


def _endpoint(answer: QuestionHandler) -> Callable[..., Response]:
    # Not async: answers read the database, so the framework gives each a thread.
    def answer_question(_: Service, params: Annotated[Params, Body()]) -> Response:
        try:
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
