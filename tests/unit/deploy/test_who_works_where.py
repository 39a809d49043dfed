"""`onestop up` on a laptop: one worker process for all services, unless they are to be apart."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from deploy.installation import Installation, InstallationOptions
from deploy.services import SERVICES
from deploy.supervisor import ProcessSpec

TOLD = "ONESTOP_CHANNELS__SMS__SIGN_NAME"
APART = {f"worker.{service}": (service,) for service in SERVICES}
SCALED = {name: services for name, services in APART.items() if name != "worker.approval"} | {
    f"worker.approval.{number}": ("approval",) for number in (1, 2, 3)
}


def specs_of(place: Path, apart: bool = False, scale: Mapping[str, int] | None = None) -> list[ProcessSpec]:
    options = InstallationOptions(
        place, environment="demo", apart=apart, scale=scale or {}, settings={TOLD: "x"}
    )
    made = Installation(options)
    return [spec for spec in made._specs(made.settings()) if isinstance(spec, ProcessSpec)]


def services_of(spec: ProcessSpec) -> tuple[str, ...]:
    return tuple(
        word for before, word in zip(spec.argv, spec.argv[1:], strict=False) if before == "--service"
    )


@pytest.mark.parametrize(
    ("apart", "scale", "expected"),
    [
        (False, {}, {"worker": SERVICES}),
        (True, {}, APART),
        (False, {"approval": 3}, SCALED),
        (True, {"approval": 3}, SCALED),
    ],
)
def test_one_worker_does_the_work_of_all_unless_they_are_apart(
    tmp_path: Path, apart: bool, scale: dict[str, int], expected: dict[str, tuple[str, ...]]
) -> None:
    workers = [spec for spec in specs_of(tmp_path, apart, scale) if spec.group == "worker"]
    assert {spec.name: services_of(spec) for spec in workers} == expected


@pytest.mark.parametrize(("apart", "sends"), [(False, "worker"), (True, "worker.notify")])
def test_only_the_process_that_sends_is_told_how(tmp_path: Path, apart: bool, sends: str) -> None:
    specs = specs_of(tmp_path, apart)
    assert [spec.name for spec in specs if TOLD in spec.env] == [sends]


def test_one_worker_may_hold_all_services_in_production(tmp_path: Path) -> None:
    made = Installation(InstallationOptions(tmp_path))
    found = made.settings()
    assert found["ONESTOP_ENVIRONMENT"] == "production"
    assert found["ONESTOP_SERVICES_SHARE_PROCESS"] == "true"
