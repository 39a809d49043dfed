"""Where an installation lies when nobody says so."""

from pathlib import Path

import pytest

from deploy.places import default_data_dir


@pytest.mark.parametrize(
    ("uid", "xdg", "expected"),
    [
        (0, "/somewhere", "/var/lib/onestop"),
        (1000, None, "/people/wang/.local/share/onestop"),
        (1000, "/somewhere", "/somewhere/onestop"),
        (1000, "relative", "/people/wang/.local/share/onestop"),
    ],
)
def test_root_and_others_each_have_a_usual_place(
    uid: int, xdg: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: uid)
    monkeypatch.setenv("HOME", "/people/wang")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    if xdg is not None:
        monkeypatch.setenv("XDG_DATA_HOME", xdg)
    assert default_data_dir() == Path(expected)
