"""The routes of a service: who may not send is told before the body is read, and each takes so much and no
more.

A body costs whoever sends it little and us much: reading, parsing, checking. So a door looks first at what
stands before it, then lets in what it takes, and only then the framework looks at any of it.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio
from fastapi import APIRouter, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from shared.auth.deps import COOKIE, FORMER_COOKIE, Condition, admission, conditions_among
from shared.auth.principal import Principal
from shared.errors import AppError, Unauthenticated
from shared.http.again import runs_again
from shared.http.body_limit import SMALL, incoming_of
from shared.http.capacity import in_thread, waits_for_its_turn
from shared.http.held import comes_back_of
from shared.http.request_body import CheckedRequest, check_media_type, check_path

_STORING = anyio.CapacityLimiter(2)
Result = TypeVar("Result")
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
Admission = Callable[[Request], Awaitable[None]]
_TAKES, _RAISES = "takes", "raises"


@dataclass(frozen=True, slots=True)
class Takes:
    """What a door takes: so many bytes, so many files among them, and who may send them."""

    size: int = SMALL
    files: int = 0
    admission: Admission | None = None
    """Besides what the endpoint's own dependencies say."""


def takes(
    size: int = SMALL, *, files: int = 0, admission: Admission | None = None
) -> Callable[[Endpoint], Endpoint]:
    """Say it of an endpoint. Whoever says nothing takes 64 kB and no file."""

    def say(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _TAKES, Takes(size, files, admission))
        return endpoint

    return say


def raises(*errors: type[AppError]) -> Callable[[Endpoint], Endpoint]:
    """Say which errors of its own an endpoint answers with. What the machinery refuses follows from what the
    door takes (`shared.http.openapi`)."""

    def say(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _RAISES, errors)
        return endpoint

    return say


async def in_turn(store: Callable[[], Result]) -> Result:
    """Run what keeps files, in a thread: two at a time, so that files never take all threads and all sessions
    with the database from those who only want a page."""
    async with _STORING:
        return await in_thread(store)


def doors(prefix: str = "", tags: Sequence[str] = (), *, include_in_schema: bool = True) -> APIRouter:
    """A router for the doors of a service: each endpoint is run again when the database says so."""
    return APIRouter(
        prefix=prefix,
        tags=[*tags],
        include_in_schema=include_in_schema,
        route_class=Door,
        redirect_slashes=False,
        # What clients call an operation is what its function is called here.
        generate_unique_id_function=lambda route: route.name,
    )


class Door(APIRoute):
    """A route that lets in nobody and nothing unseen."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self.takes: Takes = getattr(endpoint, _TAKES, Takes())
        self.raises: tuple[type[AppError], ...] = getattr(endpoint, _RAISES, ())
        self.comes_back = comes_back_of(endpoint)
        super().__init__(path, waits_for_its_turn(runs_again(endpoint)), **options)

    @property
    def conditions(self) -> list[Condition]:
        """Who must have logged in to come in; empty when anybody may."""
        return conditions_among(set(_calls(self.dependant)))

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What the framework does, after our looks at the request."""
        handle, takes, field = super().get_route_handler(), self.takes, self.body_field
        admit = admission(self.conditions)

        async def handle_in_order(request: Request) -> Response:
            check_path(request)
            try:
                await admit(request)
            except Unauthenticated:
                led_back = await self._lead_back(request)
                if led_back is None:
                    raise
                return led_back
            if takes.admission is not None:
                await takes.admission(request)
            check_media_type(request, field)
            incoming_of(request.scope).take_up_to(takes.size)
            checked = CheckedRequest(request, files=takes.files)
            try:
                await checked.check(field)
                return await self._lead_on(checked) or await handle(checked)
            finally:
                await checked.close()

        return handle_in_order

    async def _lead_back(self, request: Request) -> Response | None:
        """A form whose session is over is kept, and its sender led through log-in back to it."""
        if self.comes_back is None or not _from_page(request):
            return None
        incoming_of(request.scope).take_up_to(self.takes.size)
        checked = CheckedRequest(request, files=self.takes.files)
        try:
            return await self.comes_back.leads_back(request, await checked.form(), self._admit)
        finally:
            await checked.close()

    async def _admit(self, who: Principal) -> None:
        for condition in self.conditions:
            await condition(who)

    async def _lead_on(self, request: CheckedRequest) -> Response | None:
        """A form that an earlier session of the same person made is kept, and shown to them again."""
        if self.comes_back is None or not _from_page(request):
            return None
        return await self.comes_back.leads_on(request, await request.form(), self._admit)


def _from_page(request: Request) -> bool:
    """Whether this may be a form that a browser sends which has or had a session."""
    known = COOKIE in request.cookies or FORMER_COOKIE in request.cookies
    return known and "authorization" not in request.headers


def _calls(dependant: Dependant) -> Iterator[Callable[..., Any]]:
    for dependency in dependant.dependencies:
        if dependency.call is not None:
            yield dependency.call
        yield from _calls(dependency)
