"""Published matters: frozen, the same for everybody, in the order in which they were written."""

import shutil
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import URL, Engine, create_engine, event, text

from deploy.postgres import PostgresServer
from shared.catalogue import published as module
from shared.catalogue.loader import BUILT_IN, load_matter
from shared.catalogue.matter import Matter
from shared.catalogue.published import (
    NEWEST_FOR_S,
    Published,
    UnknownMatter,
    UnknownMatterVersion,
    VersionFrozen,
    fingerprint,
    publish,
)
from shared.db.common import metadata
from shared.db.transaction import transaction

AT = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
ONE = load_matter(BUILT_IN / "residence_permit.apply.yaml")
OTHER_CODE = "another.matter"


def changed(**values: Any) -> Matter:
    return Matter.model_validate(ONE.model_dump(mode="json") | values)


@pytest.fixture(scope="module")
def database() -> Iterator[Engine]:
    """A private server with the tables of the db_installation."""
    folder = Path(tempfile.mkdtemp(prefix="onestop-test-", dir="/tmp"))
    folder.chmod(0o711)
    server = PostgresServer(folder / "data")
    server.start()
    url = URL.create("postgresql+psycopg2", server.admin_user, server.admin_password, database="onestop")
    engine = create_engine(url.update_query_dict({"host": server.host, "port": str(server.port)}))
    with transaction(engine, "test") as connection:
        connection.execute(text("CREATE SCHEMA IF NOT EXISTS onestop"))
        metadata.create_all(connection)
    yield engine
    engine.dispose()
    server.stop("immediate")
    shutil.rmtree(folder)


@pytest.fixture
def engine(database: Engine) -> Engine:
    with transaction(database, "test") as connection:
        connection.execute(text("TRUNCATE onestop.matters"))
    return database


@pytest.fixture
def asked(engine: Engine) -> Iterator[list[str]]:
    """Every statement that was sent."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        sent.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine, "before_cursor_execute", note)


@pytest.fixture
def monotonic(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def put(engine: Engine, *matters: Matter) -> list[bool]:
    with transaction(engine, "test") as connection:
        return [publish(connection, matter, AT) for matter in matters]


def in_order(value: Any) -> Any:
    """The value with its objects as lists of pairs, so that the order of their keys counts."""
    if isinstance(value, dict):
        return [(name, in_order(inner)) for name, inner in value.items()]
    return [in_order(inner) for inner in value] if isinstance(value, list) else value


def test_what_was_published_is_read_back_whole_and_in_order(engine: Engine) -> None:
    assert put(engine, ONE) == [True]
    found = Published(engine).get(ONE.code, 1)
    assert found == ONE
    assert fingerprint(found) == fingerprint(ONE)
    # People meet the fields of a form in the order of the file.
    assert in_order(found.model_dump(mode="json")) == in_order(ONE.model_dump(mode="json"))


def test_the_same_again_is_no_change_and_anything_else_is_refused(engine: Engine) -> None:
    assert put(engine, ONE, ONE) == [True, False]
    with pytest.raises(VersionFrozen) as refused:
        put(engine, changed(theme="other"))
    assert (refused.value.status, refused.value.code) == (409, "matter.version-frozen")
    assert Published(engine).get(ONE.code, 1).theme == ONE.theme


def test_the_moment_of_publishing_is_kept(engine: Engine) -> None:
    put(engine, ONE)
    with transaction(engine, "test") as connection:
        assert connection.execute(text("SELECT published_at FROM onestop.matters")).scalar_one() == AT


def test_two_publishers_at_once_make_one_row(engine: Engine) -> None:
    together = threading.Barrier(4)

    def one(_number: int) -> bool:
        together.wait(timeout=10)
        return put(engine, ONE)[0]

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(one, range(4))) == [False, False, False, True]


def test_what_is_unknown_is_told_apart(engine: Engine) -> None:
    put(engine, ONE)
    matters = Published(engine)
    with pytest.raises(UnknownMatterVersion):
        matters.get(ONE.code, 9)
    with pytest.raises(UnknownMatter) as no_version_of_it:
        matters.get("no.such", 1)
    with pytest.raises(UnknownMatter) as no_newest:
        matters.latest("no.such")
    assert {no_version_of_it.value.code, no_newest.value.code} == {"matter.unknown"}


def test_a_version_that_was_missing_is_found_once_it_is_there(engine: Engine) -> None:
    matters = Published(engine)
    with pytest.raises(UnknownMatter):
        matters.get(ONE.code, 1)
    put(engine, ONE)
    assert matters.get(ONE.code, 1) == ONE


def test_a_version_is_read_once(engine: Engine, asked: list[str]) -> None:
    put(engine, ONE)
    matters = Published(engine)
    first = matters.get(ONE.code, 1)
    asked.clear()
    assert matters.get(ONE.code, 1) is first
    assert asked == []


def test_threads_share_one_matter(engine: Engine) -> None:
    put(engine, ONE)
    matters, together = Published(engine), threading.Barrier(4)

    def one(_number: int) -> int:
        together.wait(timeout=10)
        return id(matters.latest(ONE.code))

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(one, range(4)))) == 1


def test_a_new_version_is_seen_within_seconds(
    engine: Engine, asked: list[str], monotonic: SimpleNamespace
) -> None:
    put(engine, ONE)
    matters = Published(engine)
    assert matters.latest(ONE.code).version == 1
    put(engine, changed(version=2))
    asked.clear()
    monotonic.now += NEWEST_FOR_S - 0.1
    assert matters.latest(ONE.code).version == 1
    assert asked == []
    monotonic.now += 0.1
    assert matters.latest(ONE.code).version == 2
    assert matters.get(ONE.code, 1) == ONE


def test_versions_are_compared_as_numbers_and_matters_come_by_code(engine: Engine) -> None:
    put(engine, changed(version=10), changed(version=9), changed(code=OTHER_CODE, version=3))
    found = [(matter.code, matter.version) for matter in Published(engine).page(None, 20)]
    assert found == [(OTHER_CODE, 3), (ONE.code, 10)]


def test_many_matters_come_a_page_and_one_at_a_time(engine: Engine) -> None:
    codes = [f"matter.m{n}" for n in range(1, 6)]
    put(engine, *(changed(code=code, version=version) for code in codes for version in (1, 2)))
    matters = Published(engine)
    assert [matter.code for matter in matters.page(None, 2)] == codes[:3]
    assert [(matter.code, matter.version) for matter in matters.page(codes[1], 9)] == [
        (code, 2) for code in codes[2:]
    ]


def test_a_list_asks_once_whatever_its_length(engine: Engine, asked: list[str]) -> None:
    codes = [f"matter.m{n}" for n in range(1, 6)]
    put(engine, *(changed(code=code) for code in codes))
    asked.clear()
    matters = Published(engine)
    # Which are the newest, and all of them: two, and one when they are known.
    assert len(matters.page(None, 20)) == 5
    assert len(asked) == 2
    assert len(matters.page(None, 20)) == 5
    assert len(asked) == 3
    assert set(matters.latest_of({*codes, "no.such"})) == set(codes)
    assert len(asked) == 4
    put(engine, *(changed(code=code, version=2) for code in codes))
    asked.clear()
    assert {matter.version for matter in matters.get_all({(code, 2) for code in codes}).values()} == {2}
    assert len(asked) == 1
