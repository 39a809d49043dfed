"""The page behind every problem's `type`: all codes that this process can answer with, zh and en."""

import html

from fastapi import APIRouter
from starlette.responses import HTMLResponse, RedirectResponse

from shared.errors import error_classes

router = APIRouter(include_in_schema=False)


@router.get("/problems")
async def list_problems() -> HTMLResponse:
    """One row a code."""
    rows = "".join(
        f'<tr id="{html.escape(cls.code)}"><td><code>{html.escape(cls.code)}</code></td><td>{cls.status}</td>'
        f"<td>{html.escape(cls.title_zh)}</td><td lang='en'>{html.escape(cls.title_en)}</td></tr>"
        for cls in error_classes()
    )
    return HTMLResponse(
        '<!doctype html><html lang="zh-CN"><head><meta charset="utf-8"><title>错误代码</title></head>'
        "<body><main><h1>错误代码 <span lang='en'>Problem codes</span></h1><table><thead><tr><th>code</th>"
        "<th>HTTP</th><th>中文</th><th>English</th></tr></thead><tbody>"
        + rows
        + "</tbody></table></main></body></html>"
    )


@router.get("/problems/{code}")
async def show_problem(code: str) -> RedirectResponse:
    """The row of one code; an unknown one leads to the list."""
    known = any(cls.code == code for cls in error_classes())
    return RedirectResponse(f"/problems#{code}" if known else "/problems", 303)
