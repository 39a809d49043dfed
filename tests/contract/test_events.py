"""The contracts between services: what may stand in a fact, and that every released version is still read."""

import json
import re
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import pytest
from pydantic import BaseModel, ValidationError

import shared.events
from deploy.services import SERVICES, part, subscriptions
from services.notify.rules.notices import OF_EVERY_MATTER
from services.notify.sending import CODE_TEMPLATE
from services.notify.templates import template, template_codes
from shared.bus.handlers import handlers_of
from shared.bus.wire import Unreadable, from_json, from_message, to_json, to_message
from shared.catalogue.loader import BUILT_IN, load_matter
from shared.events.approval import StepPassed
from shared.events.fact import Code, Fact, fact_classes

GOLDEN = Path(shared.events.__file__).parent / "golden"
FACTS = fact_classes()
TYPES = [cls.type for cls in FACTS]

FREE = ("CaseSubmitted", "facts")
"""The one place where text is no code of its own: the answers that a matter declares, whose values its lint
knows."""

PERSONAL = re.compile(r"name|phone|mobile|address|id_number|reason|remark|comment|note|text|email|contact")


def golden(type_: str) -> dict[str, Any]:
    """The stored form of a released version."""
    found: dict[str, Any] = json.loads((GOLDEN / f"{type_}.json").read_text(encoding="utf-8"))
    return found


def places(model: type[BaseModel]) -> list[tuple[str, str, Any]]:
    """Every field of a payload and of what it contains: class, field, type."""
    found = []
    for name, annotation in get_type_hints(model, include_extras=True).items():
        if name not in model.model_fields:
            continue
        found.append((model.__name__, name, annotation))
        for inner in parts(annotation):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                found += places(inner)
    return found


def parts(annotation: Any) -> set[Any]:
    """The plain types that an annotation is made of."""
    if annotation == Code or get_origin(annotation) is None:
        return {annotation}
    found = set().union(*(parts(argument) for argument in get_args(annotation)))
    return found if get_origin(annotation) in (Union, UnionType) else {get_origin(annotation), *found}


def test_every_released_fact_has_a_golden_file_and_every_golden_file_a_class() -> None:
    assert sorted(path.stem for path in GOLDEN.glob("*.json")) == TYPES


@pytest.mark.parametrize("type_", TYPES)
def test_a_golden_file_replays_through_todays_code(type_: str) -> None:
    stored = golden(type_)

    event = from_json(stored)

    said = to_json(event)
    # What a later release adds stands at its default; nothing that was said is lost.
    assert said | {"data": {name: said["data"][name] for name in stored["data"]}} == stored
    message = to_message(stored)
    assert message.headers["ce-type"] == type_
    assert from_json(from_message(message.headers, message.content_type, message.body)) == event


@pytest.mark.parametrize("type_", TYPES)
def test_a_newer_speaker_may_add_what_we_do_not_know(type_: str) -> None:
    stored = golden(type_)
    stored["data"]["added_later"] = {"by": "a newer release"}
    stored["addedlater"] = "as well"

    assert from_json(stored) == from_json(golden(type_))


@pytest.mark.parametrize("type_", TYPES)
def test_a_required_field_that_is_missing_is_named_and_nothing_is_quoted(type_: str) -> None:
    cls = from_json(golden(type_)).fact.__class__
    required = [name for name, field in cls.model_fields.items() if field.is_required()]
    for name in required:
        stored = golden(type_)
        del stored["data"][name]
        with pytest.raises(Unreadable) as caught:
            from_json(stored)
        assert caught.value.reason == f"schema-invalid: /{name} missing"


@pytest.mark.parametrize("cls", FACTS, ids=lambda cls: cls.type)
def test_a_fact_is_named_after_its_speaker_and_class(cls: type[Fact]) -> None:
    assert cls.speaker in SERVICES
    assert re.fullmatch(rf"onestop\.{cls.speaker}\.[a-z]+(-[a-z]+)*\.v[1-9]\d*", cls.type)
    assert cls.__module__ == f"shared.events.{cls.speaker}"
    assert cls.__doc__


def test_no_two_facts_share_a_type() -> None:
    assert len(set(TYPES)) == len(FACTS)


@pytest.mark.parametrize("cls", FACTS, ids=lambda cls: cls.type)
def test_a_fact_has_no_place_for_a_name_a_number_or_free_text(cls: type[Fact]) -> None:
    allowed = {Code, bool, int, float, datetime, UUID, dict, list, type(None)}
    for owner, name, annotation in places(cls):
        for plain in parts(annotation):
            if isinstance(plain, type) and issubclass(plain, StrEnum | BaseModel):
                continue
            if plain is str:
                assert (owner, name) == FREE, f"{owner}.{name} is text: make it a Code"
            else:
                assert plain in allowed, f"{owner}.{name} holds {plain}"
        assert not PERSONAL.search(name), f"{owner}.{name} sounds like personal data"


@pytest.mark.parametrize("written", ["", "张三", "Zhang San", "he came late", "文三路1号", "a\n", "a" * 101])
def test_what_people_write_is_no_code(written: str) -> None:
    with pytest.raises(ValidationError):
        StepPassed(step=written)


def test_who_subscribes_to_whom_is_what_the_workers_hear() -> None:
    for service in SERVICES:
        heard = handlers_of(part(service, "worker").Worker)
        assert set(heard) <= set(TYPES)
        assert subscriptions()[service] == tuple(sorted({type_.split(".")[1] for type_ in heard}))
        assert service not in subscriptions()[service]


def test_every_fact_is_heard_by_somebody() -> None:
    heard = {type_ for service in SERVICES for type_ in handlers_of(part(service, "worker").Worker)}
    assert heard == set(TYPES)


@pytest.mark.parametrize("path", sorted(BUILT_IN.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_facts_and_templates_that_a_matter_names_exist(path: Path) -> None:
    matter = load_matter(path)
    heard = {".".join(type_.split(".")[1:3]) for type_ in handlers_of(part("notify", "worker").Worker)}
    assert matter.notices
    for notice in matter.notices:
        assert notice.fact in heard, f"notify does not hear {notice.fact}"
        assert notice.template in template_codes()
        assert set(template(notice.template).params) <= {"number", "matter", "date"}


def test_every_template_is_used_by_a_matter_by_all_or_for_codes() -> None:
    used = {n.template for path in BUILT_IN.glob("*.yaml") for n in load_matter(path).notices}
    assert CODE_TEMPLATE not in used
    assert used | {CODE_TEMPLATE, *OF_EVERY_MATTER} == set(template_codes())
