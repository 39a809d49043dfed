"""What somebody with a browser sees of a stand-in: a list of what it took, the newest first."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape

from shared.legal_time import LEGAL_ZONE

MOST = 100
"""Lines of a page."""
_STYLE = (
    "body{font-family:sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #b1b4b6;padding:.5rem;"
    "text-align:left;vertical-align:top}td:last-child{white-space:pre-wrap}"
)


def shown(at: str) -> str:
    """A moment as all pages show it: in the time of the law."""
    return f"{datetime.fromisoformat(at).astimezone(LEGAL_ZONE):%Y-%m-%d %H:%M:%S}"


def list_page(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """An HTML page; nothing in `rows` is taken for markup."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    lines = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in list(rows)[:MOST]
    )
    return (
        f'<!doctype html><html lang="zh-CN"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><main><h1>{escape(title)}</h1>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></main></body></html>"
    ).encode()
