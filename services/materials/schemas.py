"""What the doors of materials answer."""

from typing import Annotated

from pydantic import Field

from shared.http.answers import Answer, Id


class UploadReceipt(Answer):
    """A file was taken; its id is what a submission or a supply names."""

    id: Id
    media_type: Annotated[str, Field(examples=["application/pdf"])]
    """As its content says, whatever its name was."""
    size: int
    """Bytes."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
