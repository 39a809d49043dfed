"""Whether a contract breaks those who rely on the one before it: api-smart-diff says so of both documents."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.foreign import run_node

Document = dict[str, Any]


def broken_by(pairs: Sequence[tuple[Document, Document]]) -> list[list[str]]:
    """For each pair of a contract and the one after it, the changes that break clients or subscribers."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pairs.json"
        file.write_text(json.dumps([[_comparable(one) for one in pair] for pair in pairs]), encoding="utf-8")
        found: list[list[str]] = json.loads(run_node("compare.mjs", file))
    return found


def major_of(document: Document) -> int:
    """The first number of a contract's version."""
    return int(str(document["info"]["version"]).split(".")[0])


def _comparable(document: Document) -> Document:
    return _as_answers(document) if "asyncapi" in document else document


def _as_answers(document: Document) -> Document:
    """An AsyncAPI document as OpenAPI: for who hears it, a fact is an answer that nobody asked for."""
    messages, traits = document["components"]["messages"], document["components"]["messageTraits"]
    paths = {
        f"/traits/{name}": _answer("application/json", trait["headers"]) for name, trait in traits.items()
    }
    for operation in document["operations"].values():
        if operation["action"] != "send":
            continue
        channel = document["channels"][operation["channel"]["$ref"].rpartition("/")[2]]
        for name in channel["messages"]:
            said = messages[name]
            paths[f"/{channel['address']}/{name}"] = _answer(said["contentType"], said["payload"])
    return {
        "openapi": "3.1.0",
        "info": document["info"],
        "paths": paths,
        "components": {"schemas": document["components"]["schemas"]},
    }


def _answer(kind: str, schema: Any) -> dict[str, Any]:
    content = {kind: {"schema": schema}}
    return {"get": {"responses": {"200": {"description": "said", "content": content}}}}
