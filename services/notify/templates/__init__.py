"""The texts of all notices, one YAML file a template, zh-CN and en. None has a place for personal data."""

from functools import cache
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field

PARAMS = ("number", "matter", "date")
"""All that a text may name: case number, name of the matter, a date."""


class Template(BaseModel):
    """One notice: which parameters it needs, its title and body in both languages."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    params: list[Annotated[str, Field(pattern="^(number|matter|date)$")]]
    title: dict[str, Annotated[str, Field(max_length=60)]]
    body: dict[str, Annotated[str, Field(max_length=400)]]


@cache
def template(code: str) -> Template:
    """One template. Raises KeyError for a code that has no file."""
    path = Path(__file__).with_name(f"{code}.yaml")
    if not path.is_file():
        raise KeyError(code)
    return Template.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def template_codes() -> list[str]:
    """All templates there are."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.yaml"))


def render_in_app(code: str, locale: str, params: dict[str, str]) -> tuple[str, str]:
    """Title and body for the in-app inbox. Raises KeyError when a parameter is missing."""
    found = template(code)
    values = {name: params[name] for name in found.params}
    return found.title[locale].format_map(values), found.body[locale].format_map(values)


def sms_params(code: str, params: dict[str, str]) -> dict[str, str]:
    """What an SMS gateway fills into its own copy of the template; nothing beyond what the template names."""
    return {name: params[name] for name in template(code).params}
