"""The errors that people and machines may meet: a stable code, an HTTP status, words in Chinese and English.

Everything that a service raises on purpose is a subclass of AppError; the HTTP edge turns it into
problem+json (RFC 9457), the bus into a retry or a parked message. A released code never changes its meaning.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_OWNER_OF_CODE: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field of a request.

    `pointer` is a JSON pointer into the body ("/applicant/id_number"); "" is the body as a whole. Messages
    never repeat the refused value: they travel into pages and logs.
    """

    pointer: str
    code: str
    message_zh: str
    message_en: str


class AppError(Exception):
    """Base of all deliberate errors.

    `detail_*` say what happened this time and what to do about it; the titles are the same each time.
    `members` are further members of the problem document (RFC 9457 section 3.2), JSON values only.
    """

    code: str = "internal.error"
    status: int = 500
    title_zh: str = "系统内部错误"
    title_en: str = "Something went wrong on our side"

    def __init__(
        self,
        detail_zh: str = "",
        detail_en: str = "",
        *,
        fields: Sequence[FieldError] = (),
        members: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail_zh, detail_en)
        self.detail_zh = detail_zh
        self.detail_en = detail_en
        self.fields = tuple(fields)
        self.members = dict(members or {})

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "code" not in cls.__dict__:
            return
        name = f"{cls.__module__}.{cls.__qualname__}"
        if _OWNER_OF_CODE.setdefault(cls.code, name) != name:
            raise TypeError(f"error code {cls.code!r} belongs to {_OWNER_OF_CODE[cls.code]}, not to {name}")

    def __str__(self) -> str:
        text = f"{self.code}: {self.detail_en or self.title_en}"
        return text + "".join(f"; {field.pointer or '/'} {field.message_en}" for field in self.fields)


class BadRequest(AppError):
    """The request cannot be read at all."""

    code = "request.malformed"
    status = 400
    title_zh = "请求格式有误"
    title_en = "The request cannot be read"


class Unauthenticated(AppError):
    """Nobody, or nobody we can trust, is asking."""

    code = "auth.required"
    status = 401
    title_zh = "请先登录"
    title_en = "Please log in first"


class Forbidden(AppError):
    """Known, but not allowed. Never use it where it would tell that a case of somebody else exists."""

    code = "auth.forbidden"
    status = 403
    title_zh = "您没有权限进行此操作"
    title_en = "You are not allowed to do this"


class NotFound(AppError):
    """Not there, or not for this person: both answer alike."""

    code = "resource.not-found"
    status = 404
    title_zh = "没有找到您要的内容"
    title_en = "There is nothing here"


class Conflict(AppError):
    """The thing is in a state, or in somebody's hands, that does not allow this."""

    code = "resource.conflict"
    status = 409
    title_zh = "当前状态不允许此操作"
    title_en = "The present state does not allow this"


class PreconditionFailed(AppError):
    """If-Match names a version that is no longer the present one."""

    code = "resource.changed"
    status = 412
    title_zh = "内容已被更新，请刷新后重试"
    title_en = "This has changed since you read it; read it again"


class TooLarge(AppError):
    """More bytes than this door takes."""

    code = "request.too-large"
    status = 413
    title_zh = "提交的内容过大"
    title_en = "The request is too large"


class Invalid(AppError):
    """Readable, but the contents are wrong; `fields` says where."""

    code = "request.invalid"
    status = 422
    title_zh = "提交的内容有误"
    title_en = "The request is not valid"


class PreconditionRequired(AppError):
    """If-Match is missing where two people could overwrite each other."""

    code = "request.if-match-missing"
    status = 428
    title_zh = "请求缺少 If-Match"
    title_en = "The request needs If-Match"


class _Later(AppError):
    """Try again after `retry_after_s` seconds."""

    retry_after_s: int

    def __init__(
        self,
        detail_zh: str = "",
        detail_en: str = "",
        *,
        retry_after_s: int = 5,
        fields: Sequence[FieldError] = (),
        members: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail_zh, detail_en, fields=fields, members=members)
        self.retry_after_s = retry_after_s


class TooManyRequests(_Later):
    """Too often; `retry_after_s` becomes the Retry-After header."""

    code = "request.too-many"
    status = 429
    title_zh = "操作过于频繁，请稍后再试"
    title_en = "Too many requests; try again later"


class Unavailable(_Later):
    """Something that we need is away; `retry_after_s` becomes the Retry-After header."""

    code = "service.unavailable"
    status = 503
    title_zh = "服务暂时不可用，请稍后再试"
    title_en = "The service is not available for the moment; try again later"


def error_classes() -> Iterator[type[AppError]]:
    """Every loaded error class that has a code of its own, ordered by code."""
    found: dict[str, type[AppError]] = {AppError.code: AppError}
    waiting = AppError.__subclasses__()
    while waiting:
        cls = waiting.pop()
        waiting.extend(cls.__subclasses__())
        if "code" in cls.__dict__:
            found[cls.code] = cls
    yield from (found[code] for code in sorted(found))
