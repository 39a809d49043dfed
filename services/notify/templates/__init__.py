"""The texts of all notices, one YAML file a template, zh-CN and en. None has a place for personal data."""

import re
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.errors import AppError
from shared.privacy.masks import mask_text

LOCALES = frozenset(("zh-CN", "en"))
PARAMS = {
    "number": re.compile(r"[0-9A-Z-]{6,32}"),
    "matter": re.compile(r"[^\x00-\x1f\x7f<>{}]{1,200}"),
    "date": re.compile(r"\d{4}-\d{2}-\d{2}"),
    "code": re.compile(r"\d{6}"),
}
"""All that a text may name, and how its value looks: case number, name of the matter, a date, a one-time
code."""
STOP = {
    "zh-CN": "非本人办理？可在本厅网站“停发通知”页面输入{stop}停发。",
    "en": "Not your case? Enter {stop} on our page Stop notices.",
}
"""What follows every text to somebody who did nothing in the case. With it an SMS is another text at the
gateway, registered as `<template>.unasked`."""
_STOP_CODE = re.compile(r"[B-DF-HJ-NP-TV-XZ]{4}(-[B-DF-HJ-NP-TV-XZ]{4}){2}")
_LONGEST_SMS_PARAM = 35


class NoticeParamsWrong(AppError):
    """A notice was given a parameter that it does not know, or that is missing or not what it should be."""

    code = "notice.params-wrong"
    title_zh = "通知参数有误"
    title_en = "A notice was given wrong parameters"


class Template(BaseModel):
    """One notice: which parameters it needs; title, body and SMS in both languages."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    params: tuple[str, ...]
    title: dict[str, Annotated[str, Field(min_length=1, max_length=60)]]
    body: dict[str, Annotated[str, Field(min_length=1, max_length=400)]]
    sms: dict[str, Annotated[str, Field(min_length=1, max_length=140)]]
    """As registered with the gateway, which fills in the parameters; the signature comes before it."""

    @model_validator(mode="after")
    def _complete_and_closed(self) -> "Template":
        if not set(self.params) <= set(PARAMS):
            raise ValueError(f"params must be among {', '.join(PARAMS)}")
        for name, texts in (("title", self.title), ("body", self.body), ("sms", self.sms)):
            if set(texts) != LOCALES:
                raise ValueError(f"{name} needs exactly {', '.join(sorted(LOCALES))}")
            for text in texts.values():
                if not _named_in(text) <= set(self.params):
                    raise ValueError(f"{name} names what is not in params: {text}")
        if _named_in(self.sms["zh-CN"]) != _named_in(self.sms["en"]):
            raise ValueError("sms must name the same parameters in both languages")
        return self


@cache
def template(code: str) -> Template:
    """One template. Raises KeyError for a code that has no file."""
    if code not in template_codes():
        raise KeyError(code)
    path = Path(__file__).with_name(f"{code}.yaml")
    return Template.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def template_codes() -> list[str]:
    """All templates there are."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.yaml"))


def render_notice(code: str, locale: str, params: dict[str, str], stop: str | None = None) -> tuple[str, str]:
    """Title and body, as they stand in the in-app inbox and in e-mails; `stop` is the code to stop them.

    Raises NoticeParamsWrong.
    """
    found = template(code)
    values = _checked(code, found.params, params)
    body = found.body[locale].format_map(values)
    if stop is not None:
        body += "\n\n" + STOP[locale].format_map(_with_stop(code, stop))
    return found.title[locale].format_map(values), body


def sms_params(code: str, params: dict[str, str], stop: str | None = None) -> dict[str, str]:
    """What the gateway fills into its own copy of the text, and nothing else. Raises NoticeParamsWrong.

    Gateways refuse long values, so they are cut.
    """
    found = template(code)
    named = sorted(_named_in(found.sms["zh-CN"]))
    values = {name: _cut(value) for name, value in _checked(code, named, params).items()}
    return values if stop is None else values | _with_stop(code, stop)


def _checked(code: str, needed: tuple[str, ...] | list[str], params: dict[str, str]) -> dict[str, str]:
    unknown = sorted(set(params) - set(PARAMS))
    missing = sorted(set(needed) - set(params))
    # The values themselves stay out of the message: they may be what must not be shown.
    wrong = sorted(
        name
        for name in set(needed) & set(params)
        if not PARAMS[name].fullmatch(params[name]) or mask_text(params[name]) != params[name]
    )
    if unknown or missing or wrong:
        said = f"{code}: unknown {unknown}, missing {missing}, not acceptable {wrong}"
        raise NoticeParamsWrong(said, said)
    return {name: params[name] for name in needed}


def _with_stop(code: str, stop: str) -> dict[str, str]:
    if not _STOP_CODE.fullmatch(stop):
        raise NoticeParamsWrong(f"{code}: stop", f"{code}: stop")
    return {"stop": stop}


def _named_in(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def _cut(value: str) -> str:
    return value if len(value) <= _LONGEST_SMS_PARAM else value[: _LONGEST_SMS_PARAM - 1] + "…"
