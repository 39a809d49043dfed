"""Every page in both languages and modes: complete, escaped, without inline code, without another host."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment, UndefinedError
from starlette.requests import Request

from services.approval.commands import StepResult, TaskState
from services.approval.rules.limits import GREEN, RED, YELLOW
from services.approval.rules.transitions import State
from services.intake.identity.contacts import BY_PERSON
from services.intake.identity.provider import provider_names
from services.intake.rules.consent import ConsentState, ProxyDocument
from services.intake.rules.contacts import ContactKind
from services.intake.rules.stages import Progress, stages_of
from services.materials.rules.matching import TOLD, CertificateState, MatchOutcome
from services.notify.channels import channel_names
from services.notify.rules.delivery import DeliveryState
from services.notify.sending import CODE_TEMPLATE
from services.notify.templates import template_codes
from shared.auth.principal import Principal
from shared.events.fact import speakers
from shared.events.intake import ConsentBasis
from shared.events.notify import IN_APP
from shared.events.view import CaseState
from shared.http.locale import Locale
from shared.http.problems import Problem, ProblemField
from shared.http.rendering import STATIC, page_environment, problem_page, static_url, words
from tests.unit.pages.samples import CERTIFICATE, MESSAGES, NUMBER, WAITS, matter, pages

ROOT = Path(__file__).parents[3]
FOLDERS = [ROOT / "services" / service / "pages" for service in ("intake", "approval")]
CASES = [(name, locale) for name in pages() for locale in ("zh-CN", "en")]
SUBJECTS = (
    *("case", "cases", "task", "tasks", "matters", "people", "ways", "problem", "groups"),
    *("contact", "contacts", "what", "consent", "given", "number"),
)
CHINESE = re.compile(r"[\u4e00-\u9fff]")


@pytest.fixture(scope="module")
def environment() -> Environment:
    return page_environment(FOLDERS, development=True)


def render(environment: Environment, name: str, locale: str, elder: bool = False) -> str:
    template, values, visitor = pages()[name]
    return _render(environment, template, values, visitor, locale, elder)


def _render(
    environment: Environment,
    template: str,
    values: dict[str, Any],
    visitor: Principal | None,
    locale: str,
    elder: bool,
) -> str:
    return environment.get_template(template).render(
        {
            **values,
            "locale": locale,
            "elder": elder,
            "back": "/cases",
            "visitor": visitor,
            "csrf_token": "token-of-this-session",
            "idempotency_key": "key-of-this-form",
        }
    )


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.problems: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in ("meta", "link", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> closes nothing")

    def of(self, tag: str) -> Iterator[dict[str, str]]:
        return (attributes for name, attributes in self.tags if name == tag)


@pytest.mark.parametrize(("name", "locale"), CASES)
def test_a_page_is_whole_and_says_its_language(environment: Environment, name: str, locale: str) -> None:
    text = render(environment, name, locale)
    parsed = _Page(text)
    assert parsed.problems == []
    assert parsed.open == []
    assert next(parsed.of("html"))["lang"] == locale
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert sum(1 for _ in parsed.of("h1")) == 1
    assert "Undefined" not in text


@pytest.mark.parametrize(("name", "locale"), CASES)
def test_nothing_inline_and_no_other_host(environment: Environment, name: str, locale: str) -> None:
    text = render(environment, name, locale)
    parsed = _Page(text)
    for _, attributes in parsed.tags:
        assert "style" not in attributes
        assert not any(attribute.startswith("on") for attribute in attributes)
        for link in ("src", "href", "action"):
            assert attributes.get(link, "/").startswith(("/", "#"))
            assert not attributes.get(link, "/").startswith("//")
    assert "<style" not in text
    assert all("src" in attributes for attributes in parsed.of("script"))


@pytest.mark.parametrize(("name", "locale"), CASES)
def test_every_field_has_a_label_and_every_form_its_guard(
    environment: Environment, name: str, locale: str
) -> None:
    parsed = _Page(render(environment, name, locale))
    labels = {attributes["for"] for attributes in parsed.of("label")}
    for tag in ("input", "select", "textarea"):
        for attributes in parsed.of(tag):
            assert attributes.get("type") == "hidden" or attributes["id"] in labels
    assert all(attributes["method"] == "post" for attributes in parsed.of("form"))
    action = ""
    guarded = set()
    for tag, attributes in parsed.tags:
        action = attributes["action"] if tag == "form" else action
        if attributes.get("name") == "csrf_token":
            assert attributes["value"] == "token-of-this-session"
            guarded.add(action)
    changing = {a["action"] for a in parsed.of("form") if a["action"].startswith(("/cases", "/desk"))}
    assert changing <= guarded


@pytest.mark.parametrize("name", pages())
def test_an_english_page_has_chinese_only_where_people_wrote_it(environment: Environment, name: str) -> None:
    text = render(environment, name, "en")
    body = re.sub(r'<button[^>]*lang="zh-CN"[^>]*>中文</button>', "", text)
    for written in (
        "演示甲",
        "1号工作人员",
        "2号工作人员",
        "示范路 1 号",
        "居住未满半年。",
        "不是标签",
        "户口簿 0412",
    ):
        body = body.replace(written, "")
    assert CHINESE.findall(body) == []


@pytest.mark.parametrize("name", pages())
def test_a_missing_name_is_an_error_not_a_gap(environment: Environment, name: str) -> None:
    template, values, visitor = pages()[name]
    subject = next(key for key in SUBJECTS if key in values)
    fewer = {key: value for key, value in values.items() if key != subject}
    with pytest.raises(UndefinedError):
        _render(environment, template, fewer, visitor, "zh-CN", False)


def test_elder_mode_marks_the_root_and_offers_the_way_back(environment: Environment) -> None:
    elder = _Page(render(environment, "case", "zh-CN", elder=True))
    assert next(elder.of("html"))["data-mode"] == "elder"
    assert [b["value"] for b in elder.of("button") if b.get("name") == "mode"] == ["normal"]
    normal = _Page(render(environment, "case", "zh-CN"))
    assert "data-mode" not in next(normal.of("html"))


def test_what_people_wrote_is_text_and_never_markup(environment: Environment) -> None:
    text = render(environment, "case-denied", "zh-CN")
    assert "&lt;b&gt;不是标签&lt;/b&gt;" in text
    assert "<b>" not in text


def test_a_case_shows_stage_department_and_days_left(environment: Environment) -> None:
    text = render(environment, "case", "zh-CN")
    assert "核查" in text
    assert "流动人口服务中心" in text
    assert "承诺于2026年11月30日（含当日）前办结，还剩 6 天。" in text
    assert "2026年11月23日 09:15" in text
    assert "already" not in text
    assert "6 days left" in render(environment, "case", "en")
    assert "已超过承诺时限 3 天" in render(environment, "case-late", "zh-CN")


def test_a_gap_is_asked_for_with_one_form(environment: Environment) -> None:
    parsed = _Page(render(environment, "case-asked", "zh-CN"))
    form = next(f for f in parsed.of("form") if f["action"] == f"/cases/{NUMBER}/supply")
    assert form["enctype"] == "multipart/form-data"
    names = [a["name"] for tag in ("input", "select") for a in parsed.of(tag) if "name" in a]
    assert {"file.photo", "as.photo", "file.residence_proof", "as.residence_proof"} <= set(names)
    options = [o["value"] for o in parsed.of("option")]
    assert options == ["", "lease_contract", "employer_housing_statement"]
    assert "supply" not in render(environment, "case-asked-by-code", "zh-CN")


def test_who_has_supplied_everything_is_asked_for_nothing(environment: Environment) -> None:
    text = render(environment, "case-supplied", "zh-CN")
    assert "您补正材料" not in text
    assert text.count("已收到，正在核验</dd>") == 2
    assert "需您提供" not in text


def test_a_wrong_file_is_told_beside_its_field(environment: Environment) -> None:
    parsed = _Page(render(environment, "case-asked-wrong", "zh-CN"))
    field = next(a for a in parsed.of("input") if a.get("name") == "file.photo")
    ids = {attributes.get("id") for _, attributes in parsed.tags}
    described = field["aria-describedby"].split()
    assert len(described) == 2
    assert set(described) <= ids
    assert "#file-photo" in [a.get("href") for a in parsed.of("a")]


def test_a_refusal_gives_reasons_and_remedies(environment: Environment) -> None:
    for locale in ("zh-CN", "en"):
        text = render(environment, "case-denied", locale)
        assert "居住未满半年" in text
        assert matter().remedies.sentence(locale).split("，")[0][:20] in text


def test_every_fact_of_the_timeline_says_its_state_in_words(environment: Environment) -> None:
    text = render(environment, "case", "zh-CN")
    stages, _, everything = text.partition("<details")
    assert stages.count("已完成</strong>") == 3
    assert stages.count("进行中") == 1
    assert stages.count('aria-current="step"') == 1
    assert everything.count("已完成</strong>") == 5
    assert "短信：已发送" in everything


def test_a_case_that_ended_shows_its_certificate_and_what_was_told(environment: Environment) -> None:
    for locale in ("zh-CN", "en"):
        text = render(environment, "case-issued", locale)
        assert str(CERTIFICATE["identifier"]) in text
        assert MESSAGES[0]["body"] in text
        assert 'aria-current="step"' not in text


def test_a_decision_form_carries_version_and_key_only_for_its_holder(environment: Environment) -> None:
    parsed = _Page(render(environment, "task", "zh-CN"))
    hidden = {a["name"]: a["value"] for a in parsed.of("input") if a.get("type") == "hidden"}
    assert hidden["if_match"] == "2"
    assert hidden["idempotency_key"] == "key-of-this-form"
    for other in ("task-open", "task-other", "task-done"):
        assert "if_match" not in render(environment, other, "zh-CN")
    step = _Page(render(environment, "task-step", "zh-CN"))
    assert [a["value"] for a in step.of("input") if a.get("name") == "outcome"] == ["passed"]


def test_a_name_that_is_not_the_verified_one_is_marked_beside_it(environment: Environment) -> None:
    for locale, word in (("zh-CN", "核验姓名："), ("en", "Verified as: ")):
        text = render(environment, "task-name-as-written", locale)
        name = text.index("演示甲")
        assert 0 < text.index(f"{word}<strong>Yan Shijia</strong>") - name < 300
        assert text.count(word) == 1
        assert word not in render(environment, "task", locale)


def test_a_problem_page_names_code_and_reference(environment: Environment) -> None:
    request = Request({"type": "http", "method": "GET", "path": "/x", "headers": [], "query_string": b""})
    problem = Problem(
        409,
        "task.claimed-by-other",
        "该任务已由其他工作人员领取",
        "",
        Locale.ZH,
        "0af7651916cd43dd8448eb211c80319c",
        fields=(ProblemField("/x", "y", "<i>z</i>"),),
        members={"officer": "officer-2", "at": "2026-11-24T01:00:00+00:00"},
    )
    text = problem_page(environment)(request, problem)
    for part in (
        "task.claimed-by-other",
        "0af7651916cd43dd8448eb211c80319c",
        "officer-2",
        "2026年11月24日 09:00",
    ):
        assert part in text
    assert "&lt;i&gt;" in text
    assert _Page(text).problems == []


CODES = {
    "state": {*State, *CaseState},
    "service": set(speakers()),
    "outcome": set(StepResult),
    "material": set(TOLD),
    "desk_material": set(MatchOutcome),
    "notice_status": set(DeliveryState),
    "notice_channel": {IN_APP, *channel_names()},
    "notice": set(template_codes()) - {CODE_TEMPLATE},
    "task_state": set(TaskState),
    "light": {GREEN, YELLOW, RED},
    "channel": {channel.code for channel in matter().channels},
    "stage": {stage.code for stage in stages_of(matter(), {}, WAITS)} - {"step"},
    "progress": set(Progress),
    "certificate_state": set(CertificateState),
    "consent_basis": set(ConsentBasis),
    "consent_state": set(ConsentState),
    "proxy_document": set(ProxyDocument),
    "contact_kind": set(ContactKind),
    "contact_source": {BY_PERSON.name, *provider_names()},
}


@pytest.mark.parametrize("kind", CODES)
def test_every_code_has_words_and_no_words_are_left_over(kind: str) -> None:
    assert set(words()[kind]) == CODES[kind]
    assert all(set(entry) == {"zh", "en"} and all(entry.values()) for entry in words()[kind].values())


def test_no_kind_of_words_is_left_over() -> None:
    assert set(words()) == set(CODES)


def test_static_files_are_named_with_their_contents() -> None:
    assert re.fullmatch(r"/static/onestop\.css\?v=[0-9a-f]{12}", static_url("onestop.css"))
    for file in STATIC.iterdir():
        text = file.read_text("utf-8")
        assert "GDS Transport" not in text
        assert file.name == "THIRD-PARTY.txt" or not re.search(r"(?<!\^=\")https?://(?!www\.w3\.org/)", text)
