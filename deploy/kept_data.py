"""Data that stay on this machine between runs: do we have the migrations that made them?

A released migration is never edited. A build from between two releases may differ from the next one under the
same number, and its tables would fail in the middle of some command.
"""

import ast
import hashlib
import json
from pathlib import Path

from deploy.errors import MadeByAnotherBuild

_HOME = Path(__file__).parents[1]
_MIGRATIONS = (
    "shared/db/migrations/versions/*.py",
    "services/*/migrations/versions/*.py",
    "shared/bus/schema_v*.sql",
)
_FILE = "migrations.json"


def check_kept(data_dir: Path) -> None:
    """Raises MadeByAnotherBuild when the data here were made by migrations that this build does not have."""
    if not (data_dir / "postgres" / "data").exists():
        return
    ours = fingerprints()
    made_by = _noted(data_dir)
    differ = sorted(name for name, found in made_by.items() if ours.get(name) != found)
    if made_by and not differ:
        return
    command = f"mv {data_dir} {_free_name(data_dir)}"
    raise MadeByAnotherBuild(
        f"{data_dir} 中的数据由另一版本建立；请运行该版本，或将数据移走：{command}",
        f"the data in {data_dir} were made by other migrations ({', '.join(differ) or 'an early build'}): "
        f"run that build, or put them aside: {command}",
    )


def note_made_by(data_dir: Path) -> None:
    """Keep what this build is about to make the data with."""
    noted = json.dumps(_noted(data_dir) | fingerprints(), indent=1)
    (data_dir / _FILE).write_text(noted, encoding="utf-8")


def put_aside(data_dir: Path) -> Path:
    """Move the data out of the way; where they are now. Raises OSError where they cannot be moved."""
    return data_dir.rename(_free_name(data_dir))


def fingerprints() -> dict[str, str]:
    """Migration -> SHA-256 of what it does; comments and layout do not count."""
    return {
        str(path.relative_to(_HOME)): _fingerprint(path)
        for pattern in _MIGRATIONS
        for path in sorted(_HOME.glob(pattern))
    }


def _fingerprint(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".sql":
        lines = (line.partition("--")[0].split() for line in text.splitlines())
        return hashlib.sha256(" ".join(word for line in lines for word in line).encode()).hexdigest()
    tree = ast.parse(text)
    if ast.get_docstring(tree) is not None:
        del tree.body[0]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _noted(data_dir: Path) -> dict[str, str]:
    try:
        noted: dict[str, str] = json.loads((data_dir / _FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return noted


def _free_name(data_dir: Path) -> Path:
    number = 1
    while (name := data_dir.with_name(f"{data_dir.name}.before-{number}")).exists():
        number += 1
    return name
