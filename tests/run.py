"""`make test`: installs what the tests need, runs the checks, then pytest; leaves nothing running.

python -m tests.run [--checks-only] [--strict] [pytest arguments ...]
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.support.foreign import ToolFailed, node_is_missing, provide_tools
from tests.support.promtool import provide_promtool

ROOT = Path(__file__).parent.parent
_BIN = Path(sys.executable).parent
_POLICY = Path("/usr/sbin/policy-rc.d")
_DENY = "#!/bin/sh\nexit 101\n"

PACKAGES = {
    "rabbitmq-server": Path("/usr/lib/rabbitmq/bin/rabbitmq-server"),
    "pgbouncer": Path("/usr/sbin/pgbouncer"),
    "chromium": Path("/usr/bin/chromium"),
    "fonts-noto-cjk": Path("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc"),
}
_FAILED = 1
"""pytest's exit code when tests failed, and nothing else went wrong."""
_LAST_FAILED = Path(".pytest_cache/v/cache/lastfailed")
MOST_UNSTEADY = 3
_TWO_AT_A_TIME = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
CHECKS = (
    ("ruff check", ["ruff", "check", "."]),
    ("ruff format", ["ruff", "format", "--check", "."]),
    ("mypy", ["mypy"]),
    ("import-linter", ["lint-imports"]),
    ("own lints", ["python", "-m", "deploy.lints"]),
)


def main(arguments: list[str]) -> int:
    """Exit code 0 only when everything passed."""
    os.chdir(ROOT)
    checks_only = "--checks-only" in arguments
    if not (checks_only or provide_packages()) or not provide_contracts_tools():
        return 1
    own = {"--checks-only", "--strict"}
    chosen = ["tests/contract"] if checks_only else [a for a in arguments if a not in own]
    # Much of the tests is waiting for processes to start, so the checks need no time of their own.
    with ThreadPoolExecutor(max_workers=1) as beside, scratch_folder() as scratch:
        checked = beside.submit(lambda: [check(name, command) for name, command in CHECKS])
        # It also remembers failures of other runs.
        _LAST_FAILED.unlink(missing_ok=True)
        code = pytest(chosen, scratch)
        unsteady = last_failed() if code == _FAILED and "--strict" not in arguments else []
        if 0 < len(unsteady) <= MOST_UNSTEADY:
            tell(f"once more, and alone: {' '.join(unsteady)}")
            code = pytest(["-n", "0", "--last-failed", *chosen], scratch)
        left = left_running(scratch)
        for pid, command in left:
            tell(f"left running, and now killed: {pid} {command}")
            os.kill(pid, signal.SIGKILL)
        told = checked.result()
    for (name, _), (passed, output) in zip(CHECKS, told, strict=True):
        tell(name if passed else f"{name} failed")
        sys.stderr.write("" if passed else output)
    if code == 0 and unsteady:
        tell(f"UNSTEADY, to be mended: failed beside another file, passed alone: {' '.join(unsteady)}")
    return code if not left and all(passed for passed, _ in told) else 1


def check(name: str, command: Sequence[str]) -> tuple[bool, str]:
    """Run one check: whether it passed, and what it printed."""
    done = subprocess.run(
        [_BIN / command[0], *command[1:]],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode == 0, done.stdout


def last_failed() -> list[str]:
    """The tests that failed in the run before.

    A test that fails beside another file on a busy machine is tried once more alone. What fails again has
    failed; what passes is named in the last line, since an unsteady test is a fault of ours too. More than
    `MOST_UNSTEADY` of them, or `--strict`, and there is no second try."""
    return sorted(json.loads(_LAST_FAILED.read_text(encoding="utf-8"))) if _LAST_FAILED.exists() else []


def pytest(arguments: Sequence[str], scratch: Path) -> int:
    """Run pytest, two files at a time, with its temporary files below `scratch`.

    The files start in the order of their names: the last ones are the unit tests, which leave nobody waiting
    for the other. `-n 0` among the arguments runs one after the other."""
    tell("pytest")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--durations=10", *_TWO_AT_A_TIME, *arguments],
        env={**os.environ, "TMPDIR": str(scratch)},
        check=False,
    ).returncode


def provide_packages() -> bool:
    """Install the Debian packages that are missing; without the right to, say how and return False."""
    return _provide_installed() and _provide_promtool()


def _provide_promtool() -> bool:
    """One program of a package that is not installed: no rights are needed for it."""
    if provide_promtool() is not None:
        return True
    tell("these tests need promtool, which Debian's package prometheus has; `apt-get download` failed")
    return False


def provide_contracts_tools() -> bool:
    """Install what judges our contracts; it needs npm, and no rights."""
    missing = node_is_missing()
    if missing is not None:
        tell(f"these tests need {missing}; Debian has it in its package npm, and newer ones at nodejs.org")
        return False
    try:
        provide_tools()
    except ToolFailed as failed:
        tell(str(failed))
        return False
    return True


def _provide_installed() -> bool:
    missing = [name for name, file in PACKAGES.items() if not file.exists()]
    # Whoever has Node.js from elsewhere needs no other.
    missing += ["npm"] if shutil.which("npm") is None else []
    if not missing:
        return True
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        tell("these tests need programs that only root can install. Run this, then try again:")
        tell(f"    sudo apt-get update && sudo {' '.join(command)}")
        return False
    tell(f"installing {', '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with no_service_starts():
        for step in (["apt-get", "update", "--quiet=2"], command):
            if subprocess.run(step, env=environment, stdout=sys.stderr, check=False).returncode != 0:
                tell(f"failed: {' '.join(step)}")
                return False
    return True


@contextmanager
def no_service_starts() -> Iterator[None]:
    """Installing a server must not start it: the tests start their own."""
    before = _POLICY.read_bytes() if _POLICY.exists() else None
    mode = _POLICY.stat().st_mode if before is not None else 0o755
    _POLICY.write_text(_DENY, encoding="ascii")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        if before is None:
            _POLICY.unlink()
        else:
            _POLICY.write_bytes(before)
            _POLICY.chmod(mode)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A short path that other users may walk through: as root, servers run as users of their own."""
    folder = Path(tempfile.mkdtemp(prefix="onestop-run-", dir="/tmp"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def left_running(scratch: Path) -> list[tuple[int, str]]:
    """Processes that still work below the scratch folder: there must be none."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            place = os.readlink(entry / "cwd")
        except OSError:
            continue  # ended meanwhile, or somebody else's
        if str(scratch) in command or place.startswith(str(scratch)):
            found.append((int(entry.name), command))
    return found


def tell(text: str) -> None:
    """One line about what goes on, in order with what the tools print."""
    sys.stderr.write(f"onestop: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
