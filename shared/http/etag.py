"""ETag and If-Match over a row's `seq`, so that nobody decides on something that has changed meanwhile."""

from typing import Any

from shared.errors import PreconditionFailed, PreconditionRequired

TAGGED: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": {
            "ETag": {
                "description": "its version, for If-Match",
                "required": True,
                "schema": {"type": "string", "pattern": '^"[0-9]+"$'},
            }
        }
    }
}
"""What the document says of an answer with an ETag."""


def etag_of(seq: int) -> str:
    """The strong ETag of a row, as it stands in the header and in hidden fields."""
    return f'"{seq}"'


def check_if_match(sent: str | None, current: int) -> None:
    """For a value that came as header or in a form. Raises PreconditionRequired (428) without any,
    PreconditionFailed (412) for another seq."""
    if sent is None or not sent.strip():
        raise PreconditionRequired(
            "请先读取最新内容，再带上 If-Match 提交",
            "read the present version first and send its ETag as If-Match",
        )
    # Strong comparison (RFC 9110 section 13.1.1): W/"7" never matches.
    tags = [tag.strip() for tag in sent.split(",")]
    if tags != ["*"] and etag_of(current) not in tags:
        raise PreconditionFailed
