"""Every setting of the installation, read once from the environment and passed down.

`ONESTOP_` and the field's name, `__` for what is nested: `ONESTOP_WEB__PORT=8600`. Each variable may instead
be given as `<name>_FILE`, the path of a file that holds the value (ONESTOP_BROKER_URL_FILE). No
secret has a default, and no `.env` is read unless somebody exports it.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableVariable

from shared.errors import AppError
from shared.sections import DbSettings, LimitSettings, Section, WebSettings, WorkerSettings

PREFIX = "ONESTOP_"
_HEAD = "These settings cannot be used:"


class SettingsError(AppError):
    """The settings cannot be used. The command line prints it and ends with exit code 2."""

    code = "settings.invalid"
    title_zh = "配置有误"
    title_en = "The settings are not valid"


_OWNED_BY_OTHERS = ("channels", "identity")
"""What only a channel or a provider can read."""


class _EnvironmentWithFiles(EnvSettingsSource):
    """The environment, with `<name>_FILE` read in place of `<name>` and misspelt names refused.

    What stands under `channels` and `identity` stays text: only the channel or the provider knows what it
    means.
    """

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        prefix = PREFIX.lower()
        ours = {name: value for name, value in self.env_vars.items() if name.startswith(prefix)}
        plain = {name: value for name, value in ours.items() if not name.endswith("_file")}
        for name, path in ours.items():
            if name.endswith("_file"):
                target = name.removesuffix("_file")
                if target in plain:
                    raise SettingsError("", f"{target.upper()} and {name.upper()} are both set: keep one")
                plain[target] = _contents(name, path or "")
        _refuse_misspelt(plain, settings_cls.model_fields)
        self._owned: dict[str, dict[str, dict[str, str | None]]] = {}
        self._bare: set[str] = set()
        for field in _OWNED_BY_OTHERS:
            for name in [name for name in plain if name.startswith(f"{prefix}{field}__")]:
                owner, _, setting = name.removeprefix(f"{prefix}{field}__").partition("__")
                self._owned.setdefault(field, {}).setdefault(owner, {})[setting] = plain.pop(name)
                if name in ours:
                    self._bare.add(f"{field}.{owner}.{setting}")
        self._all_bare = [field for field in _OWNED_BY_OTHERS if f"{prefix}{field}" in ours]
        self.env_vars = plain

    def __call__(self) -> dict[str, Any]:
        """All that is set."""
        found = super().__call__()
        for field in self._all_bare:
            if isinstance(found.get(field), dict):
                for owner, own in found[field].items():
                    self._bare |= {f"{field}.{owner}.{setting}" for setting in own}
        return found | self._owned | ({"bare": frozenset(self._bare)} if self._bare else {})


class Settings(BaseSettings):
    """All settings. Raises SettingsError with one readable message that names every broken variable."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_file=None,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    environment: Literal["production", "demo", "test"] = Field(
        default="production", description="kind of installation"
    )
    db: DbSettings
    broker_url: str | None = Field(
        None,
        description="amqp:// URL without a user, which is each service's; unset delivers inside the database",
        examples=["amqp://mq:5672/"],
    )
    secrets_dir: Path = Field(
        description="directory with a folder of secrets for each service of this process",
        examples=["/etc/onestop/secrets"],
    )
    witness_dir: Path | None = Field(
        default=None,
        description="directory outside the database's volume and its copies, with a folder a service, that "
        "tells when the database was brought back from an older copy; must be set in production",
        examples=["/var/lib/onestop/witness"],
    )
    web: WebSettings = WebSettings()
    peers: dict[str, str] = Field(
        default={},
        description="base URL by service, for services that live in another process",
        examples=['{"intake":"http://intake:8600"}'],
    )
    services_share_process: bool = Field(
        default=False,
        description="let one process hold several services in production: there are no walls within it",
    )
    dev_identity: bool = Field(default=False, description="offer the development log-in; never in production")
    clock_offset_allowed: bool = Field(
        default=False, description="let the legal clock be moved; never in production"
    )
    fault_plan: str = Field(default="", description="planned crash points for drills; never in production")
    channels: dict[str, dict[str, SecretStr]] = Field(
        default={},
        description="settings of the channels of notify, by channel",
        examples=['{"sms":{"endpoint":"…"}}'],
    )
    identity: dict[str, dict[str, SecretStr]] = Field(
        default={},
        description="settings of the identity providers of intake, by provider",
        examples=['{"openid_connect":{"issuer":"…"}}'],
    )
    bare: frozenset[str] = Field(
        default=frozenset(),
        exclude=True,
        description="which of channels and identity stood in the environment itself; never set",
    )
    worker: WorkerSettings = WorkerSettings()
    limits: LimitSettings = LimitSettings()
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="least level to log"
    )
    log_format: Literal["json", "console"] = Field(default="json", description="shape of log lines")

    _for_tests_only: ClassVar[tuple[str, ...]] = ("dev_identity", "clock_offset_allowed", "fault_plan")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError("", f"{_HEAD}\n{_readable(error, Settings)}") from None
        except UnreadableVariable as error:
            raise SettingsError("", _unreadable(error)) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What the caller gives comes first, then the environment; nothing else is read."""
        return init_settings, _EnvironmentWithFiles(settings_cls)

    @field_validator("broker_url")
    @classmethod
    def _without_a_user(cls, url: str | None) -> str | None:
        if url is not None and "@" in urlsplit(url).netloc:
            raise ValueError("must not hold a user or a password: those of each service lie in its secrets")
        return url

    @model_validator(mode="after")
    def _nothing_loose_in_production(self) -> "Settings":
        if self.environment == "production":
            loose = [name for name in self._for_tests_only if getattr(self, name)]
            if loose:
                names = ", ".join(PREFIX + name.upper() for name in loose)
                raise ValueError(f"{names} must not be set while {PREFIX}ENVIRONMENT is production")
        return self


def _contents(variable: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SettingsError("", f"{variable.upper()}: cannot read {path!r}: {reason}") from None


def _refuse_misspelt(variables: Mapping[str, str | None], fields: Mapping[str, FieldInfo]) -> None:
    # Kubernetes puts <SERVICE>_SERVICE_HOST and the like beside ours: what only shares the prefix is let be.
    for variable in variables:
        first, nested, _ = variable.removeprefix(PREFIX.lower()).partition("__")
        if first in fields:
            continue
        near = difflib.get_close_matches(first, fields, n=1, cutoff=0.6 if nested else 0.85)
        if near or nested:
            hint = f"did you mean {PREFIX}{near[0].upper()}?" if near else f"known: {_names(fields)}"
            raise SettingsError("", f"{variable.upper()}: there is no such setting; {hint}")


def _names(fields: Mapping[str, FieldInfo]) -> str:
    return ", ".join(PREFIX + name.upper() for name in fields)


def _unreadable(error: UnreadableVariable) -> str:
    for name in Settings.model_fields:
        if f'"{name}"' in str(error):
            field = Settings.model_fields[name]
            example = f", for example {PREFIX}{name.upper()}='{field.examples[0]}'" if field.examples else ""
            return f"{PREFIX}{name.upper()}: it is not JSON; give a JSON object{example}"
    return str(error)


def read_sections(
    classes: Mapping[str, type[Section]], settings: Settings, under: Literal["channels", "identity"]
) -> dict[str, Section]:
    """Sections whose classes only their owner knows, read from the texts in the field `under` of Settings.

    No secret may stand in the environment itself, where the system shows it to whoever may look at the
    process. Raises SettingsError with one message that names all their broken variables.
    """
    given: Mapping[str, Mapping[str, SecretStr]] = getattr(settings, under)
    read: dict[str, Section] = {}
    broken: list[str] = []
    for name, texts in sorted(given.items()):
        if name not in classes:
            variable = f"{PREFIX}{under}__{name}".upper()
            broken.append(f"  {variable}: there is no such section; known here: {', '.join(sorted(classes))}")
            continue
        broken += [
            f"  {PREFIX}{under}__{name}__{key}".upper() + f": a secret; give it as ..._{key.upper()}_FILE"
            for key in texts
            if f"{under}.{name}.{key}" in settings.bare and _is_secret(_field_at(classes[name], key))
        ]
        values = {key: text.get_secret_value() for key, text in texts.items()}
        try:
            read[name] = classes[name].model_validate(values)
        except ValidationError as error:
            broken.append(_readable(error, classes[name], under, name))
    if broken:
        raise SettingsError("", "\n".join((_HEAD, *broken)))
    return read


def _field_at(model: type[BaseModel], path: str) -> FieldInfo | None:
    """The field of a setting, `__` for what is nested."""
    field: FieldInfo | None = None
    for part in path.split("__"):
        field = model.model_fields.get(part)
        below = _section_of(field) if field else None
        if below is None:
            break
        model = below
    return field


def _readable(error: ValidationError, root: type[BaseModel], *under: str) -> str:
    lines = []
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        path = [str(part) for part in item["loc"]]
        variable = PREFIX + "__".join((*under, *path)).upper()
        if not path:
            said = item["msg"].removeprefix("Value error, ")
            lines.append(f"  {variable}__*: {said}" if under else f"  {said}")
            continue
        wrong = {"missing": "it is not set", "extra_forbidden": "there is no such setting"}.get(
            item["type"], item["msg"].removeprefix("Input ").lower()
        )
        lines.append(f"  {variable}: {wrong}{_what_is_right(root, path, variable)}")
    return "\n".join(lines)


def _what_is_right(root: type[BaseModel], path: list[str], variable: str) -> str:
    model: type[BaseModel] | None = root
    field: FieldInfo | None = None
    for part in path:
        if model is None or part not in model.model_fields:
            known = ", ".join(model.model_fields) if model else ""
            return f"; known here: {known}" if known else ""
        field = model.model_fields[part]
        model = _section_of(field)
    if field is None or not field.description:
        return f"; it needs at least {_required(model, variable)}" if model else ""
    example = field.examples[0] if field.examples else field.get_default()
    shown = f", for example {variable}={example}" if isinstance(example, str | int | float) else ""
    return f"; expected: {field.description}{shown}"


def _is_secret(field: FieldInfo | None) -> bool:
    if field is None:
        return False
    return SecretStr in (field.annotation, *getattr(field.annotation, "__args__", ()))


def _section_of(field: FieldInfo) -> type[BaseModel] | None:
    kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _required(model: type[BaseModel], variable: str) -> str:
    return ", ".join(
        f"{variable}__{name.upper()} ({field.description})"
        for name, field in model.model_fields.items()
        if field.is_required()
    )
