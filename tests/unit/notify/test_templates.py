"""Every text exists in both languages, names nothing but case number, matter, date and code, and fits."""

import pytest
from pydantic import ValidationError

from services.notify.templates import (
    LOCALES,
    PARAMS,
    NoticeParamsWrong,
    Template,
    render_notice,
    sms_params,
    template,
    template_codes,
)
from shared.catalogue.loader import BUILT_IN, load_matter

NUMBER = "330106261123000001X"
GIVEN = {"number": NUMBER, "matter": "居住证申领", "date": "2026-12-01", "code": "271828"}
IN_ENGLISH = {**GIVEN, "matter": "Residence permit"}
LONGEST_SMS = 70
"""Characters of one SMS in UCS-2; a longer one is sent, and paid, in parts."""
ALL = [(code, locale) for code in template_codes() for locale in sorted(LOCALES)]


def sms(code: str, locale: str, params: dict[str, str]) -> str:
    """The text as the gateway fills it in."""
    return template(code).sms[locale].format_map(sms_params(code, params))


@pytest.mark.parametrize(("code", "locale"), ALL)
def test_a_rendered_notice_has_no_gap_and_names_what_it_is_about(code: str, locale: str) -> None:
    title, body = render_notice(code, locale, GIVEN)
    assert title
    assert GIVEN["code" if code == "one-time-code" else "number"] in body
    assert not set("{}") & set(title + body)


@pytest.mark.parametrize("code", template_codes())
def test_an_sms_is_one_sms(code: str) -> None:
    assert len(sms(code, "zh-CN", GIVEN)) <= LONGEST_SMS
    english = sms(code, "en", IN_ENGLISH)
    assert english.isascii()
    assert len(english) <= 160


@pytest.mark.parametrize(("code", "locale"), ALL)
def test_an_sms_holds_only_what_a_text_may_name(code: str, locale: str) -> None:
    text = sms(code, locale, GIVEN)
    fixed = template(code).sms[locale]
    for name, value in GIVEN.items():
        fixed = fixed.replace(f"{{{name}}}", value)
    assert text == fixed
    assert set(sms_params(code, GIVEN)) <= set(PARAMS)


@pytest.mark.parametrize(
    "params",
    [
        {"number": NUMBER},
        {**GIVEN, "name": "张三"},
        {**GIVEN, "number": "13800008000"},
        {**GIVEN, "number": "110101199003077758"},
        {**GIVEN, "matter": "居住证申领 13800008000"},
        {**GIVEN, "matter": "x\ny"},
        {**GIVEN, "date": "2026年12月1日"},
        {"code": "13800008000"},
    ],
    ids=["missing", "extra", "phone", "id-number", "phone-within", "control", "date", "code"],
)
def test_what_is_not_on_the_list_is_refused_and_not_repeated(params: dict[str, str]) -> None:
    with pytest.raises(NoticeParamsWrong) as caught:
        sms_params("case-accepted", params)
    with pytest.raises(NoticeParamsWrong):
        render_notice("case-accepted", "zh-CN", params)
    assert not any(value in str(caught.value) for value in params.values())


def test_a_long_name_is_cut_in_an_sms_and_whole_in_the_inbox() -> None:
    long = {**GIVEN, "matter": "外" * 90}
    assert sms_params("case-accepted", long)["matter"] == "外" * 34 + "…"
    assert "外" * 90 in render_notice("case-accepted", "zh-CN", long)[1]


def test_every_template_that_a_published_matter_names_is_there() -> None:
    named = {notice.template for path in BUILT_IN.glob("*.yaml") for notice in load_matter(path).notices}
    assert named
    assert named <= set(template_codes())


@pytest.mark.parametrize(
    "change",
    [
        {"params": ["number", "phone"]},
        {"title": {"zh-CN": "只有中文"}},
        {"body": {"zh-CN": "{date}", "en": "x"}},
        {"sms": {"zh-CN": "{number}", "en": "nothing"}},
        {"sms": {"zh-CN": "{number.__class__}", "en": "{number.__class__}"}},
        {"note": "unknown key"},
    ],
)
def test_a_broken_template_file_is_refused(change: dict[str, object]) -> None:
    good: dict[str, object] = {
        "params": ["number"],
        "title": {"zh-CN": "标题", "en": "Title"},
        "body": {"zh-CN": "{number}", "en": "{number}"},
        "sms": {"zh-CN": "{number}", "en": "{number}"},
    }
    Template.model_validate(good)
    with pytest.raises(ValidationError):
        Template.model_validate({**good, **change})


def test_an_unknown_template_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        template("../settings")
