"""What a door reads: the media type that it takes, text that can be kept, and JSON that means one thing.

Parsers differ over a name that stands twice, over NaN and over 1e999; what one checks another may then read
otherwise (RFC 8259 section 4, RFC 7493). Nesting and length without end cost more to look at than to send.
All of it is UTF-8: JSON by RFC 8259 section 8.1, forms because our pages are.
"""

import asyncio
import json
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, NoReturn

from fastapi import Request
from fastapi import UploadFile as DeclaredFile
from fastapi._compat import ModelField
from fastapi.params import Form
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser

from shared.errors import AppError, BadRequest, FieldError, Invalid, NotFound
from shared.http.body import CONTROL_CHARACTER, has_control
from shared.privacy.sealed_file import SealedFile

DEEPEST = 32
"""No body of ours nests deeper; recursion over what came in stays far from its limit."""
MOST_VALUES = 20_000
"""Values in one body, names of members not counted."""
MOST_FIELDS = 200
"""Fields of one form, files not counted."""
LONGEST_FIELD = 64 * 1024

_URLENCODED, _MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"
_UTF_8 = (b"utf-8", b"utf8")
_SLICE = 16 * 1024
"""What is parsed at a time: in between others have their turn."""


class UnsupportedMediaType(AppError):
    """The body is of another kind than this door takes."""

    code = "request.unsupported-media-type"
    status = 415
    title_zh = "不支持此内容类型"
    title_en = "This media type is not supported here"


def check_path(request: Request) -> None:
    """Raises NotFound for a path that can name nothing."""
    if has_control(request.path_params):
        raise NotFound


def check_media_type(request: Request, field: ModelField | None) -> None:
    """Raises UnsupportedMediaType; `field` is what the endpoint makes of the body."""
    kind, options = _content_type(request)
    if options.get(b"charset", b"utf-8").lower() not in _UTF_8:
        raise UnsupportedMediaType("请使用 UTF-8 编码", "send UTF-8")
    if field is None or not kind:
        return
    if isinstance(field.field_info, Form):
        if kind not in (_URLENCODED, _MULTIPART):
            raise _unsupported(f"{_URLENCODED} / {_MULTIPART}")
    elif kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise _unsupported("application/json")


class CheckedRequest(Request):
    """A request whose body is read in our way, whoever reads it: the framework, a dependency, an endpoint.

    Files are `SealedUpload`. At most `files` of them are taken.
    """

    def __init__(self, request: Request, *, files: int) -> None:
        super().__init__(request.scope, request.receive)
        self._files = files

    async def check(self, field: ModelField | None) -> None:
        """Read what the endpoint wants of the body.

        Raises UnsupportedMediaType for JSON that does not say so, BadRequest for a body that cannot be read
        or means several things, and Invalid for control characters in a form.
        """
        if field is None:
            return
        if isinstance(field.field_info, Form):
            await self.form()
        elif await self.body():
            if not _content_type(self)[0]:
                raise _unsupported("application/json")
            await self.json()

    async def json(self) -> Any:
        """The value. Raises BadRequest."""
        if not hasattr(self, "_value"):
            self._value = read_json(await self.body())
        return self._value

    async def _get_form(self, **_: Any) -> FormData:
        # All ways to a form lead here; the limits are ours, not the framework's.
        if self._form is None:
            try:
                self._form = await self._read_form()
            except MultiPartException:
                raise BadRequest("表单无法读取", "the form cannot be read") from None
            _check_form(self._form)
        return self._form

    async def _read_form(self) -> FormData:
        kind, _ = _content_type(self)
        async with aclosing(_in_slices(self.stream())) as stream:
            if kind == _MULTIPART:
                return await _SealingParser(
                    self.headers,
                    stream,
                    max_files=self._files,
                    max_fields=MOST_FIELDS,
                    max_part_size=LONGEST_FIELD,
                ).parse()
            if kind == _URLENCODED:
                # As it travels a character takes up to nine bytes; what a door takes in all bounds it.
                return await FormParser(
                    self.headers, stream, max_fields=MOST_FIELDS, max_part_size=9 * LONGEST_FIELD
                ).parse()
        return FormData()


class SealedUpload(UploadFile):
    """A file of a form; what has come of it lies sealed."""

    def __init__(self, name: str) -> None:
        self.sealed = SealedFile()
        super().__init__(self.sealed, size=0, filename=name)  # type: ignore[arg-type]

    async def write(self, data: bytes) -> None:
        """Without a thread: sealing a slice takes less than handing it over."""
        self.size = (self.size or 0) + len(data)
        self.sealed.write(data)


def sealed_file_of(file: DeclaredFile) -> SealedFile:
    """What a form brought, as an endpoint declared it."""
    assert isinstance(file, SealedUpload)
    return file.sealed


class _SealingParser(MultiPartParser):
    """The framework's, but no plain text of a file is ever on a disk."""

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        plain = self._current_part.file
        if plain is not None:
            plain.file.close()
            sealed = SealedUpload(plain.filename or "")
            self._current_part.file = sealed
            self._files_to_close_on_error[-1] = sealed.sealed  # type: ignore[call-overload]


async def _in_slices(stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(stream):
        async for chunk in stream:
            for at in range(0, len(chunk), _SLICE):
                yield chunk[at : at + _SLICE]
                await asyncio.sleep(0)


def read_json(body: bytes) -> Any:
    """Raises BadRequest for what is no JSON in UTF-8, for names that stand twice, numbers without a value,
    and what is too deep or long."""
    try:
        found = json.loads(
            body.decode("utf-8"), object_pairs_hook=_once_each, parse_constant=_no_number, parse_float=_finite
        )
    except (ValueError, RecursionError):
        raise BadRequest("请求体不是有效的 JSON", "the body is not valid JSON") from None
    _check_size(found)
    return found


def _content_type(request: Request) -> tuple[str, dict[bytes, bytes]]:
    kind, options = parse_options_header(request.headers.get("content-type"))
    return kind.decode("latin-1").strip().lower(), options


def _check_form(form: FormData) -> None:
    wrong = [
        FieldError("" if has_control(name) else f"/{name}", *CONTROL_CHARACTER)
        for name, value in form.multi_items()
        if has_control(name) or has_control(value)
    ]
    if wrong:
        raise Invalid(fields=wrong)


def _check_size(found: object) -> None:
    left = MOST_VALUES
    waiting: list[tuple[Any, int]] = [(found, 0)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, dict):
            value = list(value.values())
        if not isinstance(value, list):
            continue
        left -= len(value)
        if left < 0:
            raise BadRequest("请求体的内容过多", "the body has too many values")
        if depth == DEEPEST and value:
            raise BadRequest("请求体的嵌套层次过多", "the body is nested too deeply")
        waiting.extend((inner, depth + 1) for inner in value)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadRequest("同一对象中有重复的名称", "a name stands twice in one object")
    return found


def _no_number(_: str) -> NoReturn:
    raise BadRequest("NaN 和 Infinity 不是 JSON 数字", "NaN and Infinity are no numbers of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise BadRequest("数字过大", "a number is too large")
    return number


def _unsupported(taken: str) -> UnsupportedMediaType:
    return UnsupportedMediaType(f"请以 {taken} 提交", f"send {taken}")
