"""promtool, Prometheus's own judge of metrics and rules.

It is in Debian's package `prometheus`, of which only this one program is taken: nothing is installed.
"""

import shutil
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

_DOWNLOAD = ("download", "--quiet=2", "prometheus")
_UPDATE = ("update", "--quiet=2")
PLACE = Path(sys.prefix) / "bin" / "promtool"


def provide_promtool() -> Path | None:
    """Where promtool is, fetched at first need; None where there is no apt to fetch it with."""
    found = shutil.which("promtool")
    if found is not None:
        return Path(found)
    if not PLACE.exists() and not _fetched():
        return None
    return PLACE


def _fetched() -> bool:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return False
    with tempfile.TemporaryDirectory(prefix="onestop-promtool-") as folder:
        package = _downloaded(Path(folder))
        if package is None:
            return False
        unpacked = subprocess.run(
            ["dpkg-deb", "--fsys-tarfile", package], capture_output=True, check=True
        ).stdout
    with tarfile.open(fileobj=BytesIO(unpacked)) as archive:
        program = archive.extractfile("./usr/bin/promtool")
        assert program is not None
        # Somebody else may be at it, too: the name must never stand for half a program.
        begun = PLACE.with_name(f"promtool.{id(archive):x}")
        begun.write_bytes(program.read())
    begun.chmod(0o755)
    begun.replace(PLACE)
    return True


def _downloaded(folder: Path) -> Path | None:
    for step in (_DOWNLOAD, _UPDATE, _DOWNLOAD):
        # A fresh machine has no lists of packages yet; only root may fetch them.
        done = subprocess.run(["apt-get", *step], cwd=folder, capture_output=True, check=False)
        package = next(folder.glob("prometheus_*.deb"), None)
        if done.returncode == 0 and package is not None:
            return package
    return None
