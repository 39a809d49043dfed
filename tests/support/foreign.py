"""The foreign tools that read our contracts; nothing of them is shipped.

Those of npm stand in `tests/contracts-tools/node_modules`. `openapi-python-client` needs another typer than
we do: both stand in a folder of .venv that comes before all others where that tool runs.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "tests" / "contracts-tools"
OLDEST_NODE = (20, 19)
"""What @redocly/cli asks for."""
_MODULES = TOOLS / "node_modules"
_PYTHON = Path(sys.prefix) / "contracts-tools"
_QUIET = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true", "NO_COLOR": "1"}


class ToolFailed(AssertionError):
    """A foreign tool is not content; the text is what it said."""


def node_is_missing() -> str | None:
    """What has to be installed before the tools can be; None when nothing has."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        return "npm"
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    found = tuple(int(part) for part in re.findall(r"\d+", said)[:2])
    oldest = ".".join(map(str, OLDEST_NODE))
    return None if found >= OLDEST_NODE else f"Node.js {oldest} or later (this one is {said.strip()})"


def provide_tools() -> None:
    """Install what the lock files name, at first need. Raises ToolFailed."""
    npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    _install(_MODULES, TOOLS / "package-lock.json", npm)
    lock = TOOLS / "requirements.lock"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--upgrade"]
    options = ["--only-binary", ":all:", "--require-hashes", "--no-deps", "--target", str(_PYTHON)]
    _install(_PYTHON, lock, [*pip, *options, "-r", str(lock)])


def run_node(tool: str, *arguments: str | Path) -> str:
    """What a tool of npm, or a script beside package.json, prints. Raises ToolFailed."""
    program = _MODULES / ".bin" / tool
    command = ["node", str(TOOLS / tool)] if tool.endswith(".mjs") else [str(program)]
    return _run([*command, *map(str, arguments)], _QUIET)


def generate_python_client(document: Path, into: Path) -> None:
    """Let openapi-python-client make the package `into`. Raises ToolFailed, for a warning as well."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    options = ["--config", "python-client.yml", "--meta", "none", "--fail-on-warning"]
    places = ["--path", str(document), "--output-path", str(into)]
    _run(
        [sys.executable, "-m", "openapi_python_client", "generate", *options, *places],
        {"PYTHONPATH": str(_PYTHON), "PATH": path},
    )


def _install(place: Path, lock: Path, command: Sequence[str]) -> None:
    stamp, made = hashlib.sha256(lock.read_bytes()).hexdigest(), place / ".made"
    if made.is_file() and made.read_text(encoding="ascii") == stamp:
        return
    with (TOOLS / "package.json").open("rb") as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        if not made.is_file() or made.read_text(encoding="ascii") != stamp:
            _run(command, {})
            made.write_text(stamp, encoding="ascii")


def _run(command: Sequence[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        command,
        cwd=TOOLS,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ToolFailed(f"{' '.join(command)}\n{done.stdout}")
    return done.stdout
