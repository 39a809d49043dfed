"""Files that people save: with a name they can read, and never run or shown in our origin."""

from urllib.parse import quote

from starlette.responses import Response

_ENDINGS = {"application/pdf": ".pdf", "image/jpeg": ".jpg", "image/png": ".png"}


def attachment(content: bytes, media_type: str, *, name: str, plain_name: str) -> Response:
    """A file to save under `name`, which may be Chinese; clients that cannot read that take `plain_name`.

    Both come without an ending: it follows from the media type. RFC 6266 and RFC 8187.
    """
    ending = _ENDINGS[media_type]
    disposition = (
        f"attachment; filename=\"{plain_name}{ending}\"; filename*=UTF-8''{quote(name + ending, safe='')}"
    )
    headers = {"Content-Disposition": disposition, "Cache-Control": "no-store"}
    return Response(content, media_type=media_type, headers=headers)
