"""The lock files hold what pyproject.toml asks for, by hash, and no address."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUNTIME = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["build"]]
DEVELOPMENT = [*RUNTIME, *PROJECT["dependency-groups"]["dev"]]


def locked(name: str) -> dict[str, str]:
    """Package -> version of one lock file."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", text, flags=re.MULTILINE))


@pytest.mark.parametrize(
    ("name", "wanted"), [("requirements.lock", RUNTIME), ("requirements-dev.lock", DEVELOPMENT)]
)
def test_every_requirement_is_locked_at_a_version_that_fits(name: str, wanted: list[str]) -> None:
    versions = locked(name)
    for requirement in map(Requirement, wanted):
        version = versions.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in {name}: make lock"
        assert requirement.specifier.contains(version), f"{requirement} but {version} is locked: make lock"


def test_both_lock_files_agree() -> None:
    development = locked("requirements-dev.lock")
    assert locked("requirements.lock").items() <= development.items()


@pytest.mark.parametrize(
    "name", ["requirements.lock", "requirements-dev.lock", "tests/contracts-tools/requirements.lock"]
)
def test_a_lock_file_has_hashes_and_no_addresses(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pinned = [line for line in lines if "==" in line]
    assert pinned
    assert all(line.endswith("\\") for line in pinned)
    assert [line for line in lines if "://" in line or line.startswith("-") or " @ " in line] == []


def test_the_tools_of_npm_are_locked_by_hash_and_without_addresses() -> None:
    tools = ROOT / "tests" / "contracts-tools"
    wanted = json.loads((tools / "package.json").read_text(encoding="utf-8"))["devDependencies"]
    packages = json.loads((tools / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert packages.pop("")["devDependencies"] == wanted
    assert {name: packages[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    assert not any("resolved" in package for package in packages.values())
