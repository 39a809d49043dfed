"""`make test` tries once more, alone, what failed beside another file; what fails twice has failed."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests import run


class Runs:
    """Stands for pytest: each run ends as told, with these tests failed."""

    def __init__(self, *ends: Sequence[str]) -> None:
        self.ends = list(ends)
        self.arguments: list[list[str]] = []

    def __call__(self, arguments: Sequence[str], scratch: Path) -> int:
        self.arguments.append(list(arguments))
        failed = self.ends.pop(0)
        run._LAST_FAILED.parent.mkdir(parents=True, exist_ok=True)
        run._LAST_FAILED.write_text(json.dumps(dict.fromkeys(failed, True)), encoding="utf-8")
        return 1 if failed else 0


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Runs:
    made = Runs()
    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "CHECKS", ())
    monkeypatch.setattr(run, "provide_packages", lambda: True)
    monkeypatch.setattr(run, "provide_contracts_tools", lambda: True)
    monkeypatch.setattr(run, "pytest", made)
    return made


def test_what_passes_alone_passes_and_is_named(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    runs.ends = [["a::b"], []]
    assert run.main(["tests"]) == 0
    assert runs.arguments == [["tests"], ["-n", "0", "--last-failed", "tests"]]
    assert "UNSTEADY" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("ends", "arguments"),
    [
        ([["a::b"], ["a::b"]], []),
        ([[f"a::{n}" for n in range(run.MOST_UNSTEADY + 1)]], []),
        ([["a::b"]], ["--strict"]),
    ],
    ids=["twice", "too many", "strict"],
)
def test_what_fails_fails(runs: Runs, ends: list[list[str]], arguments: list[str]) -> None:
    runs.ends = [*ends]
    assert run.main(arguments) == 1
    assert runs.ends == []


def test_what_passes_at_once_is_not_tried_again(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    runs.ends = [[]]
    assert run.main([]) == 0
    assert "UNSTEADY" not in capsys.readouterr().err
