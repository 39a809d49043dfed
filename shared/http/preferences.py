"""Language and elder mode: chosen by a form on every page, kept in cookies, without JavaScript or a
session."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from shared.auth.csrf import check_same_origin
from shared.http.doors import doors
from shared.http.locale import COOKIE as LANG_COOKIE
from shared.http.locale import Locale

MODE_COOKIE = "onestop_mode"
ELDER = "elder"
LONGEST_BACK = 300
_A_YEAR_S = 365 * 24 * 3600


def is_elder(request: Request) -> bool:
    """Whether the visitor chose the mode with large text and large targets (长辈版)."""
    return request.cookies.get(MODE_COOKIE) == ELDER


def preferences_router(*, cookie_secure: bool) -> APIRouter:
    """The door that keeps the choice."""
    router = doors(include_in_schema=False)

    @router.post("/preferences")
    def choose(
        request: Request,
        back: Annotated[str, Form(max_length=LONGEST_BACK)] = "/",
        lang: Annotated[Locale | None, Form()] = None,
        mode: Annotated[str | None, Form(pattern="^(elder|normal)$")] = None,
    ) -> Response:
        """Keep what was chosen and go back to the page that it was chosen on."""
        check_same_origin(request)
        response = RedirectResponse(local_path(back), 303)
        for name, value in ((LANG_COOKIE, lang), (MODE_COOKIE, mode)):
            if value is not None:
                response.set_cookie(
                    name, str(value), max_age=_A_YEAR_S, httponly=True, samesite="lax", secure=cookie_secure
                )
        return response

    return router


def local_path(text: str) -> str:
    """The path if it leads to a page of ours, else the first page: a form must not send people elsewhere."""
    plain = text.startswith("/") and not text.startswith("//")
    return text if plain and text.isprintable() and "\\" not in text else "/"
