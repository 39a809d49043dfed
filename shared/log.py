"""Log lines for machines: one JSON object a line, UTC, no personal data.

An event is snake_case and past tense, what happened to whom goes into keys: `log.info("case_accepted",
case_no=...)`. Libraries that log through `logging` end up in the same shape and behind the same guard.
"""

import logging
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor

from shared.privacy.masks import mask_text, scrub_error_text
from shared.settings import Settings

# uvicorn's access lines and httpx's request lines hold raw paths; TraceMiddleware writes ours.
_SILENT = ("uvicorn.access",)
_WARNINGS_ONLY = ("httpx", "httpcore", "amqp", "pika", "kombu", "asyncio", "sqlalchemy")
_DEPTH = 6


def configure(settings: Settings, *, service: str, stream: TextIO | None = None) -> None:
    """Set up logging of this process; `service` stands in every line. Writes to stdout unless told otherwise.

    May be called again; the last call counts.
    """
    out = _NeverRaises(stream if stream is not None else sys.stdout)
    level = logging.getLevelNamesMapping()[settings.log_level]
    shaping: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _adds_service(service),
        _exception_as_text,
        guard_personal_data,
    ]
    structlog.configure(
        processors=[*shaping, _renderer(settings, out)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, out)),
        cache_logger_on_first_use=settings.environment != "test",
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder()],
            processors=[
                _from_logging,
                *shaping,
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _renderer(settings, out),
            ],
        )
    )
    _take_over_logging(handler, level)


def guard_personal_data(_: object, __: str, event_dict: EventDict) -> EventDict:
    """The last guard: mask ID numbers and phones in every key and value, and values quoted in error texts.

    It is a guard, not a licence: names and addresses cannot be found this way and must not be logged at all.
    """
    return {mask_text(str(key)): _guarded(value, _DEPTH) for key, value in event_dict.items()}


def _guarded(value: object, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return scrub_error_text(value)
    if isinstance(value, int | float):
        text = repr(value)
        masked = mask_text(text)
        return value if masked == text else masked
    if depth == 0:
        return "…"
    if isinstance(value, Mapping):
        return {mask_text(str(key)): _guarded(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_guarded(item, depth - 1) for item in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    return scrub_error_text(str(value))


def _exception_as_text(_: object, __: str, event_dict: EventDict) -> EventDict:
    exc_info = event_dict.pop("exc_info", None)
    if not exc_info:
        return event_dict
    error = exc_info if isinstance(exc_info, BaseException) else None
    if error is None:
        error = exc_info[1] if isinstance(exc_info, tuple) else sys.exc_info()[1]
    if error is not None:
        # Frames show source lines, never local variables: those hold what people told us.
        event_dict["exception"] = "".join(traceback.format_exception(error)).rstrip()
    return event_dict


class _NeverRaises:
    """Where lines go, or are counted when they cannot: no work fails because nothing can be said."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._written = True
        self._lost = 0

    def write(self, text: str) -> None:
        self._written = self._is_done(lambda: self._out.write(text))

    def flush(self) -> None:
        if not (self._is_done(self._out.flush) and self._written):
            self._lost += 1
        elif self._lost:
            told = f'{{"event": "log_incomplete", "level": "error", "lines": {self._lost}}}\n'
            if self._is_done(lambda: self._out.write(told)) and self._is_done(self._out.flush):
                self._lost = 0

    def _is_done(self, what: Callable[[], object]) -> bool:
        try:
            what()
        except (OSError, ValueError):
            # A full disk, or a stream that whoever opened it has closed.
            return False
        return True

    def isatty(self) -> bool:
        return self._out.isatty()


def _adds_service(service: str) -> Processor:
    def add(_: object, __: str, event_dict: EventDict) -> EventDict:
        event_dict.setdefault("service", service)
        return event_dict

    return add


def _from_logging(_: object, __: str, event_dict: EventDict) -> EventDict:
    record: logging.LogRecord = event_dict["_record"]
    event_dict.update(event="library_logged", logger=record.name, message=event_dict["event"])
    event_dict["level"] = record.levelname.lower()
    return event_dict


def _renderer(settings: Settings, out: "_NeverRaises") -> Processor:
    if settings.log_format == "json":
        return structlog.processors.JSONRenderer(ensure_ascii=False, sort_keys=False)
    return structlog.dev.ConsoleRenderer(colors=out.isatty(), timestamp_key="at")


def _crashed(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if not issubclass(kind, Exception) or error is None:
        sys.__excepthook__(kind, error or kind(), trace)
        return
    structlog.get_logger().critical("exception_uncaught", exc_info=(kind, error, trace))


def _take_over_logging(handler: logging.Handler, level: int) -> None:
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    # Else a broken format string makes logging print its arguments to stderr, past the guard.
    logging.raiseExceptions = False
    sys.excepthook = _crashed
    threading.excepthook = lambda args: _crashed(args.exc_type, args.exc_value, args.exc_traceback)
    for name in ("uvicorn", "uvicorn.error", "nameko", "alembic"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    for name in _WARNINGS_ONLY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    for name in _SILENT:
        logging.getLogger(name).disabled = True
