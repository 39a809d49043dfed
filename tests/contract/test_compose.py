"""docker-compose.yml: every service scales alone, stops in peace, and has no password that anybody knows."""

import json
import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from deploy.generated import ROOT, openapi_document
from deploy.registry import INTERNAL_PORT, WEB_PORT, processes
from deploy.secret_files import init_secrets
from deploy.services import SERVICES
from deploy.web import build
from shared.sections import WorkerSettings
from shared.settings import Settings

FILE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
PROCESSES = [process.name for process in processes()]


def strings(value: object) -> Iterator[str]:
    """Every string in a document."""
    if isinstance(value, dict):
        for member in value.values():
            yield from strings(member)
    elif isinstance(value, list):
        for member in value:
            yield from strings(member)
    elif isinstance(value, str):
        yield value


def seconds(text: str) -> int:
    """A duration as compose writes it."""
    return int(text.removesuffix("s"))


def test_each_service_has_a_web_and_a_worker_of_its_own() -> None:
    expected = {f"{service}-{kind}" for service in SERVICES for kind in ("web", "worker")}
    assert set(FILE["services"]) == {"postgres", "rabbitmq", "migrate", "gateway", *expected}


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_scales_alone(name: str) -> None:
    service = FILE["services"][name]
    assert "ports" not in service
    assert "container_name" not in service
    assert "hostname" not in service
    assert service["command"][-1] == name.partition("-")[0]


@pytest.mark.parametrize("name", PROCESSES)
def test_a_stop_may_take_longer_than_the_drain(name: str) -> None:
    assert seconds(FILE["services"][name]["stop_grace_period"]) > WorkerSettings().drain_s + 5


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_waits_for_the_migration_and_only_workers_for_the_broker(name: str) -> None:
    needs = FILE["services"][name]["depends_on"]
    assert needs["migrate"]["condition"] == "service_completed_successfully"
    assert ("rabbitmq" in needs) == name.endswith("-worker")


def test_what_others_wait_for_has_a_health_check() -> None:
    awaited = {
        other
        for service in FILE["services"].values()
        for other, condition in service.get("depends_on", {}).items()
        if condition["condition"] == "service_healthy"
    }
    assert {"postgres", "rabbitmq"} <= awaited
    assert all("healthcheck" in FILE["services"][name] for name in awaited)


def test_only_the_gateway_is_reachable_from_outside() -> None:
    assert [name for name, service in FILE["services"].items() if "ports" in service] == ["gateway"]


def filled(text: str) -> str:
    """A text with the defaults of its variables, as compose fills them in."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


@pytest.mark.parametrize("service", SERVICES)
def test_a_web_process_believes_the_gateway_and_nobody_else(service: str) -> None:
    web = FILE["services"][f"{service}-web"]
    [trusted] = json.loads(filled(web["environment"]["ONESTOP_WEB__TRUSTED_PROXIES"]))
    [subnet] = FILE["networks"]["entry"]["ipam"]["config"]
    assert filled(subnet["subnet"]) == trusted
    in_entry = {name for name, one in FILE["services"].items() if "entry" in one.get("networks", ())}
    assert in_entry == {"gateway", *(f"{other}-web" for other in SERVICES)}
    assert FILE["services"]["gateway"]["networks"] == ["entry"]
    assert (
        "proxy_set_header X-Forwarded-For $$proxy_add_x_forwarded_for;"
        in (FILE["configs"]["gateway"]["content"])
    )


def test_nobody_else_is_told_whom_to_believe() -> None:
    for name in PROCESSES:
        believed = "ONESTOP_WEB__TRUSTED_PROXIES" in FILE["services"][name]["environment"]
        assert believed == name.endswith("-web"), name


def test_the_gateway_waits_for_nobody_for_long() -> None:
    config = FILE["configs"]["gateway"]["content"]
    for what in ("client_header_timeout", "client_body_timeout", "send_timeout", "keepalive_timeout"):
        [line] = [line for line in config.splitlines() if what in line]
        assert seconds(line.split()[1].rstrip(";")) <= 15, line


def test_the_gateway_leads_to_every_web_process_and_to_no_internal_address() -> None:
    config = FILE["configs"]["gateway"]["content"]
    for service in SERVICES:
        assert f"set $$upstream {service}-web;" in config
    proxied = [line for line in config.splitlines() if "proxy_pass" in line]
    assert len(proxied) >= len(SERVICES)
    assert all(f":{WEB_PORT};" in line for line in proxied)
    for name in PROCESSES:
        environment = FILE["services"][name]["environment"]
        peers = json.loads(environment["ONESTOP_PEERS"])
        assert all(url.endswith(f":{INTERNAL_PORT}") for url in peers.values())
        assert environment["ONESTOP_WEB__INTERNAL_PORT"] == str(INTERNAL_PORT)
        assert FILE["services"][name]["healthcheck"]["test"][-1] == str(INTERNAL_PORT)


@pytest.mark.parametrize("service", SERVICES)
def test_the_gateway_leads_every_path_to_the_service_that_answers_it(service: str) -> None:
    document = openapi_document([service])
    prefixes = {path: process.service for process in processes() for path in process.paths}
    for path in document["paths"]:
        if path == "/healthz":
            continue
        longest = max((prefix for prefix in prefixes if path.startswith(prefix)), key=len)
        assert prefixes[longest] == service, path


def test_no_secret_has_a_default() -> None:
    for text in strings(FILE["services"]):
        for word in ("PASSWORD", "SECRET", "TOKEN"):
            if word in text and "${" in text:
                assert ":?" in text
    folders = [text for text in strings(FILE["services"]) if "${ONESTOP_SECRETS" in text]
    assert folders
    assert all(text.startswith("${ONESTOP_SECRETS:?") for text in folders)


@pytest.mark.parametrize("name", [*PROCESSES, "migrate"])
def test_a_process_is_given_the_secrets_of_its_service_and_no_others(name: str) -> None:
    [given] = [volume for volume in FILE["services"][name]["volumes"] if isinstance(volume, dict)]
    owner = name.partition("-")[0] if name in PROCESSES else "migrate"
    assert given["source"].endswith(f"}}/{owner}")
    assert given["target"] == f"/run/secrets/{owner}"
    assert given["read_only"] is True


@pytest.mark.parametrize("name", [*PROCESSES, "migrate"])
def test_a_witness_has_a_volume_of_its_own_that_only_its_service_has(name: str) -> None:
    service = FILE["services"][name]
    witnessed = [name.partition("-")[0]] if name in PROCESSES else list(SERVICES)
    given = [volume for volume in service["volumes"] if isinstance(volume, str)]
    place = service["environment"]["ONESTOP_WITNESS_DIR"]
    assert given == [f"witness-{owner}:{place}/{owner}" for owner in witnessed]
    assert {f"witness-{owner}" for owner in witnessed} <= FILE["volumes"].keys()


@pytest.mark.parametrize("name", ["postgres", "rabbitmq"])
def test_a_server_is_given_the_one_file_that_it_checks_log_ins_with(name: str) -> None:
    [given] = [volume for volume in FILE["services"][name]["volumes"] if isinstance(volume, dict)]
    owner, file = {
        "postgres": ("migrate", "db_admin.password"),
        "rabbitmq": ("broker", "definitions.json"),
    }[name]
    assert given["source"].endswith(f"}}/{owner}/{file}")
    assert given["read_only"] is True


@pytest.mark.parametrize("name", [*PROCESSES, "migrate", "gateway", "postgres"])
def test_who_neither_speaks_nor_hears_cannot_reach_the_broker(name: str) -> None:
    service = FILE["services"][name]
    speaks = name == "migrate" or name.endswith("-worker")
    assert FILE["services"]["rabbitmq"]["networks"] == ["facts"]
    assert ("facts" in service.get("networks", ["default"])) == speaks
    assert ("ONESTOP_BROKER_URL" in service["environment"] if "environment" in service else False) == speaks


def test_the_broker_is_one_release_and_no_later_one() -> None:
    assert FILE["services"]["rabbitmq"]["image"].count(".") == 2


@pytest.mark.parametrize("name", [*PROCESSES, "migrate"])
def test_the_settings_are_settings_that_exist(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("secrets")
    init_secrets(folder)
    owner = name.partition("-")[0]
    for other in folder.iterdir():
        if other.name != owner:
            shutil.rmtree(other)
    for variable, value in FILE["services"][name]["environment"].items():
        monkeypatch.setenv(variable, filled(value).replace("/run/secrets", str(folder)))
    settings = Settings()
    if owner in SERVICES:
        build(settings, [owner])
    assert settings.db.host == "postgres"
    assert set(settings.peers) == set(SERVICES)
    assert json.loads(FILE["services"][name]["environment"]["ONESTOP_PEERS"]) == settings.peers
