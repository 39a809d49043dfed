"""The import contracts notice what they are for: a file without a place, a step upwards, a circle, a wall."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.services import SERVICES

ROOT = Path(__file__).parents[2]
BROKEN = [
    *[(f"services/{service}/helpers.py", "") for service in SERVICES],
    ("shared/helpers.py", ""),
    ("services/intake/commands.py", "import services.intake.handling\n"),
    ("services/notify/channels/sms.py", "import services.notify.queries\n"),
    ("services/materials/rules/media.py", "import services.materials.models\n"),
    ("services/approval/commands.py", "import services.notify.queries\n"),
    ("shared/db/engine.py", "import shared.bus.tables\n"),
    ("shared/bus/unit.py", "def late() -> None:\n    import shared.http.etag\n"),
    ("shared/bus/gate.py", "def late() -> None:\n    import shared.bus.unit\n"),
    ("services/intake/identity/helpers.py", ""),
    ("services/intake/identity/sessions.py", "import services.intake.identity.accounts\n"),
    ("services/intake/identity/persons.py", "import services.intake.identity.sessions\n"),
    ("services/intake/identity/provider.py", "import services.intake.identity.development\n"),
    ("services/intake/identity/sessions.py", "import services.intake.commands\n"),
    ("deploy/places.py", "def late() -> None:\n    import deploy.installation\n"),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of everything that the contracts speak of."""
    for part in ("services", "shared", "deploy"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__", "*.json"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def contracts_hold(tree: Path) -> bool:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=tree, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(("name", "line"), BROKEN)
def test_a_broken_contract_fails_the_check(name: str, line: str, tree: Path) -> None:
    file = tree / name
    file.write_text((file.read_text(encoding="utf-8") if file.exists() else "") + line, encoding="utf-8")
    assert not contracts_hold(tree)


def test_the_copy_itself_keeps_them(tree: Path) -> None:
    assert contracts_hold(tree)
