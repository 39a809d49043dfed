"""ETag and If-Match over a row's `seq`, so that nobody decides on something that has changed meanwhile."""

from starlette.requests import Request

from shared.errors import PreconditionFailed, PreconditionRequired


def etag_of(seq: int) -> str:
    """The strong ETag of a row, as it stands in the header and in hidden fields."""
    return f'"{seq}"'


def require_if_match(request: Request, current: int) -> None:
    """Raises PreconditionRequired (428) without If-Match, PreconditionFailed (412) for another seq."""
    check_if_match(request.headers.get("if-match"), current)


def check_if_match(sent: str | None, current: int) -> None:
    """The same for a value that came in a form."""
    if sent is None or not sent.strip():
        raise PreconditionRequired(
            "请先读取最新内容，再带上 If-Match 提交",
            "read the present version first and send its ETag as If-Match",
        )
    # Strong comparison (RFC 9110 section 13.1.1): W/"7" never matches.
    tags = [tag.strip() for tag in sent.split(",")]
    if tags != ["*"] and etag_of(current) not in tags:
        raise PreconditionFailed
