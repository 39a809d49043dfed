"""One JSON object a line, from us and from libraries, and no personal data in any of them."""

import errno
import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import structlog

from shared import log
from shared.sections import DbSettings
from shared.settings import Settings

ID = "330102199003078515"
PHONE = "13800138000"


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root, raising, hook, thread_hook = (
        logging.getLogger().handlers[:],
        logging.raiseExceptions,
        sys.excepthook,
        threading.excepthook,
    )
    level = logging.getLogger().level
    yield
    logging.captureWarnings(False)
    logging.getLogger().handlers[:] = root
    logging.getLogger().setLevel(level)
    logging.raiseExceptions, sys.excepthook, threading.excepthook = raising, hook, thread_hook
    logging.getLogger("uvicorn.access").disabled = False
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


class Lines(io.StringIO):
    """A stream that is read back line by line."""

    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


def configured(**values: Any) -> Lines:
    out = Lines()
    settings = Settings(db=DbSettings(host="/x"), secrets_dir="/x", environment="test", **values)
    log.configure(settings, service="intake", stream=out)
    return out


def test_a_line_says_when_who_what_and_what_was_bound() -> None:
    out = configured()
    structlog.contextvars.bind_contextvars(case_no="3301022611230000017")
    structlog.get_logger().info("case_accepted", handler="open")
    (line,) = out.objects()
    assert (
        line.items()
        >= {
            "event": "case_accepted",
            "service": "intake",
            "level": "info",
            "case_no": "3301022611230000017",
            "handler": "open",
        }.items()
    )
    assert datetime.fromisoformat(line["at"]).utcoffset() == timedelta(0)


def test_numbers_of_people_are_masked_wherever_they_stand() -> None:
    out = configured()
    structlog.contextvars.bind_contextvars(bound=PHONE)
    structlog.get_logger().info(
        "planted",
        text=f"id {ID}",
        number=int(PHONE),
        nested={"list": [ID, (PHONE,)], PHONE: 1},
        raw=ID.encode(),
        thing=ValueError(ID),
        several=f"{ID},{PHONE}\n{ID}",
    )
    assert ID not in out.getvalue()
    assert PHONE not in out.getvalue()
    assert out.objects()[0]["number"] == "138****8000"


def test_exceptions_are_masked_and_show_no_local_variables() -> None:
    out = configured()
    secret = "张三丰"
    try:
        raise RuntimeError(f"refused {ID}") from ValueError(f"DETAIL:  Key (name)=({secret}) exists")
    except RuntimeError:
        structlog.get_logger().exception("it_failed")
        logging.getLogger("nameko").exception("it failed for %s", PHONE)
    ours, theirs = out.objects()
    for line in (ours, theirs):
        assert "RuntimeError" in line["exception"]
    for value in (ID, PHONE, secret):
        assert value not in out.getvalue()


def test_libraries_speak_in_the_same_shape() -> None:
    out = configured()
    logging.getLogger("uvicorn.error").info("started %s", PHONE)
    (line,) = out.objects()
    assert line["event"] == "library_logged"
    assert line["logger"] == "uvicorn.error"
    assert line["message"] == "started 138****8000"
    assert line["level"] == "info"


def test_lines_with_raw_paths_are_silenced() -> None:
    out = configured()
    logging.getLogger("uvicorn.access").info("GET /cases/1")
    logging.getLogger("httpx").info("HTTP Request: GET http://peer/cases/1")
    assert out.getvalue() == ""


def test_warnings_go_through_the_guard() -> None:
    out = configured()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn(f"odd {ID}", stacklevel=1)
    assert ID not in out.getvalue()
    assert out.objects()[0]["logger"] == "py.warnings"


def test_a_broken_format_string_leaks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    configured()
    logging.getLogger("some.library").warning("%d people", f"张三{ID}")
    captured = capsys.readouterr()
    assert ID not in captured.err + captured.out


def test_a_crashing_thread_is_logged_behind_the_guard() -> None:
    out = configured()

    def crash() -> None:
        raise ValueError(ID)

    thread = threading.Thread(target=crash)
    thread.start()
    thread.join()
    (line,) = out.objects()
    assert line["event"] == "exception_uncaught"
    assert ID not in out.getvalue()


def test_the_level_is_a_setting() -> None:
    out = configured(log_level="WARNING")
    structlog.get_logger().info("not_shown")
    structlog.get_logger().warning("shown")
    assert [line["event"] for line in out.objects()] == ["shown"]


def test_the_last_configuration_counts() -> None:
    first, second = configured(), configured()
    logging.getLogger("a.library").warning("once")
    assert first.getvalue() == ""
    assert len(second.objects()) == 1


def test_the_console_shape_is_masked_too() -> None:
    out = configured(log_format="console")
    try:
        raise ValueError(ID)
    except ValueError:
        structlog.get_logger().exception("it_failed", phone=PHONE)
    assert "it_failed" in out.getvalue()
    assert ID not in out.getvalue()
    assert PHONE not in out.getvalue()


def test_a_stream_that_was_closed_fails_nothing() -> None:
    out = configured()
    out.close()
    structlog.get_logger().warning("said_to_nobody")


@pytest.mark.parametrize("where", ["write", "flush"])
def test_a_full_disk_fails_nothing_and_is_told_afterwards(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = configured()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(out, where, full)
        structlog.get_logger().info("first_unsaid")
        logging.getLogger("library").warning("second unsaid")
    structlog.get_logger().info("said_again")
    *_, said, told = out.objects()
    assert (told["event"], told["lines"]) == ("log_incomplete", 2)
    assert said["event"] == "said_again"
