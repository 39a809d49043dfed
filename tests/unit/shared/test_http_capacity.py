"""Requests wait for their turn in order, not for long, and for no database that is gone."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from shared.db.outages import DatabaseAway, Outage
from shared.db.waiting import NoAnswer, NotReached
from shared.errors import AppError, Unavailable
from shared.http.body_limit import BodyLimitMiddleware
from shared.http.capacity import (
    BUSY_RETRY_AFTER_S,
    LINE_PER_TURN,
    Capacity,
    CapacityMiddleware,
    in_thread,
    with_others,
)
from shared.http.doors import doors
from shared.http.problems import answer_error

LONG_S = 30.0
GONE = DatabaseAway(Outage.LOST, NotReached("nobody listens"))
TORN = DatabaseAway(Outage.LOST, NoAnswer("a session broke"))


class Asked:
    """A request that works until it is told how to end; `log` is told who has begun."""

    def __init__(self, capacity: Capacity, name: str, log: list[str]) -> None:
        self.end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._run(capacity, name, log))

    async def _run(self, capacity: Capacity, name: str, log: list[str]) -> None:
        async with capacity.turn():
            log.append(name)
            await self.end


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG_S):
        while not condition():
            await asyncio.sleep(0)


def run(scene: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scene()

    asyncio.run(main())


async def standing(capacity: Capacity, names: str, log: list[str]) -> list[Asked]:
    """These come one after the other."""
    found = []
    for name in names:
        before = capacity.waiting + len(log)
        found.append(Asked(capacity, name, log))
        await until(lambda: capacity.waiting + len(log) == before + 1)  # noqa: B023
    return found


def test_who_came_first_is_first() -> None:
    async def scene() -> None:
        log: list[str] = []
        capacity = Capacity(2, patience_s=LONG_S)
        asked = await standing(capacity, "abcdef", log)
        assert (log, capacity.waiting) == (["a", "b"], 4)
        for n, one in enumerate(asked):
            one.end.set_result(None)
            await one.task
            await until(lambda: len(log) == min(n + 3, 6))  # noqa: B023
        assert log == list("abcdef")

    run(scene)


def test_whoever_comes_as_a_turn_ends_stands_behind_those_who_wait() -> None:
    async def scene() -> None:
        log: list[str] = []
        capacity = Capacity(1, patience_s=LONG_S)
        first, second = await standing(capacity, "ab", log)
        first.end.set_result(None)
        third = Asked(capacity, "c", log)
        await first.task
        await until(lambda: len(log) == 2)
        second.end.set_result(None)
        await until(lambda: len(log) == 3)
        assert log == ["a", "b", "c"]
        third.end.set_result(None)
        await third.task

    run(scene)


def test_nobody_waits_for_ever_and_the_line_goes_on_without_them() -> None:
    async def scene() -> None:
        log: list[str] = []
        capacity = Capacity(1, patience_s=0.05)
        [first] = await standing(capacity, "a", log)
        with pytest.raises(Unavailable) as refused:
            await Asked(capacity, "b", log).task
        assert (refused.value.code, refused.value.retry_after_s) == (
            "service.unavailable",
            BUSY_RETRY_AFTER_S,
        )
        assert capacity.waiting == 0
        first.end.set_result(None)
        await first.task
        [third] = await standing(capacity, "c", log)
        assert log == ["a", "c"]
        third.end.set_result(None)
        await third.task

    run(scene)


def test_a_database_that_is_gone_empties_the_line_at_once() -> None:
    async def scene() -> None:
        log: list[str] = []
        capacity = Capacity(2, patience_s=LONG_S)
        first, second, *waiting = await standing(capacity, "abcde", log)
        first.end.set_exception(GONE)
        async with asyncio.timeout(LONG_S / 2):
            results = await asyncio.gather(*(one.task for one in waiting), return_exceptions=True)
        assert [type(result) for result in results] == [Unavailable] * 3
        assert log == ["a", "b"]
        # Whoever comes then finds out for themselves whether it is back.
        [next_one] = await standing(capacity, "f", log)
        assert log == ["a", "b", "f"]
        for one in (second, next_one):
            one.end.set_result(None)
            await one.task
        await asyncio.gather(first.task, return_exceptions=True)

    run(scene)


@pytest.mark.parametrize("error", [TORN, ValueError("a mistake of ours")])
def test_what_fails_for_one_alone_sends_nobody_away(error: Exception) -> None:
    async def scene() -> None:
        log: list[str] = []
        capacity = Capacity(1, patience_s=LONG_S)
        first, second = await standing(capacity, "ab", log)
        first.end.set_exception(error)
        await until(lambda: len(log) == 2)
        second.end.set_result(None)
        await second.task
        await asyncio.gather(first.task, return_exceptions=True)

    run(scene)


def test_who_hangs_up_leaves_the_line_and_takes_no_turn_along() -> None:
    async def scene() -> None:
        log: list[str] = []
        capacity = Capacity(1, patience_s=LONG_S)
        first, second, third = await standing(capacity, "abc", log)
        second.task.cancel()
        await until(lambda: capacity.waiting == 1)
        # Its turn comes at the very moment at which it goes.
        first.end.set_result(None)
        await first.task
        third.task.cancel()
        await asyncio.gather(second.task, third.task, return_exceptions=True)
        [fourth] = await standing(capacity, "d", log)
        assert log[-1] == "d"
        fourth.end.set_result(None)
        await fourth.task

    run(scene)


def test_refused_in_words_for_people_and_programs() -> None:
    """As many threads as `at_once` says, and then problem+json with a time to come again."""
    app = FastAPI()
    app.add_exception_handler(AppError, answer_error)
    app.add_middleware(BodyLimitMiddleware)
    app.add_middleware(CapacityMiddleware, capacity=Capacity(2, patience_s=0.05))
    router = doors()
    working, done = threading.Barrier(3), threading.Event()

    @router.get("/work")
    def work() -> None:
        working.wait(LONG_S)
        assert done.wait(LONG_S)

    @router.get("/more")
    def more() -> None:
        return None

    app.include_router(router)
    with TestClient(app) as client:
        threads = [threading.Thread(target=client.get, args=("/work",)) for _ in range(2)]
        for thread in threads:
            thread.start()
        working.wait(LONG_S)
        answer = client.get("/more", headers={"Accept-Language": "en"})
        done.set()
        for thread in threads:
            thread.join(LONG_S)
        assert client.get("/more").status_code == 200
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == str(BUSY_RETRY_AFTER_S)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "service.unavailable"
    assert "Many people" in answer.json()["detail"]


def test_work_is_done_in_a_thread_within_the_turn_of_its_request() -> None:
    async def scene() -> None:
        asked: list[int] = []
        capacity = Capacity(1, patience_s=LONG_S)

        async def app(*_: object) -> None:
            asked.append(await in_thread(threading.get_ident))

        await CapacityMiddleware(app, capacity=capacity)({}, _nothing, _nothing)  # type: ignore[arg-type]
        assert asked != [threading.get_ident()]

    run(scene)


async def _nothing(*_: object) -> None:
    return None


def test_a_line_that_is_too_long_grows_no_longer() -> None:
    async def scene() -> None:
        capacity, log = Capacity(1, patience_s=LONG_S), list[str]()
        all_ = [Asked(capacity, str(n), log) for n in range(LINE_PER_TURN + 1)]
        await until(lambda: capacity.waiting == LINE_PER_TURN)
        with pytest.raises(Unavailable) as refused:
            async with capacity.turn():
                pytest.fail("there was no turn")
        assert refused.value.retry_after_s == BUSY_RETRY_AFTER_S
        all_[0].end.set_result(None)
        await until(lambda: len(log) == 2)
        late = Asked(capacity, "late", log)
        await until(lambda: capacity.waiting == LINE_PER_TURN)
        for one in (*all_, late):
            one.task.cancel()

    run(scene)


def test_who_waits_for_a_server_that_is_not_ours_takes_nobodys_turn() -> None:
    app, asked, answered = FastAPI(), threading.Event(), threading.Event()
    router = doors()

    def hangs() -> None:
        asked.set()
        assert answered.wait(LONG_S)

    @router.get("/elsewhere")
    async def elsewhere() -> str:
        await with_others(hangs)
        return "back"

    @router.get("/page")
    def page() -> str:
        answered.set()
        return "page"

    app.include_router(router)
    app.add_middleware(BodyLimitMiddleware)
    app.add_middleware(CapacityMiddleware, capacity=Capacity(1))
    with TestClient(app) as client:
        away = threading.Thread(target=client.get, args=("/elsewhere",))
        away.start()
        assert asked.wait(LONG_S)
        assert client.get("/page").json() == "page"
        away.join(LONG_S)
        assert not away.is_alive()
