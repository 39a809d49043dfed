"""Rules of this installation that no general linter knows: `python -m deploy.lints`.

- A transaction, a publish and an ack exist once each, each beside a named crash point.
- Models and migrations take their time from `shared.clock`, never from the database's or the machine's now.
- A migration says whether it expands or contracts, and takes nothing away while it expands.
- The environment is read in one place.
- The doors of the web are made in one place, which runs them again after a deadlock.
- Nothing that is checked in knows the machine it was written on.
"""

import ast
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CODE = ("services", "shared", "deploy")

_HOME_OF = {
    "begin": "shared/db/transaction.py",
    "commit": "shared/db/transaction.py",
    "basic_publish": "shared/bus/broker.py",
    "ack": "shared/bus/consumer.py",
    "basic_ack": "shared/bus/consumer.py",
    "basic_reject": "shared/bus/consumer.py",
    "send_method": "shared/bus/consumer.py",
}
# A check of health is begun in a thread; nothing to do with a transaction.
_OTHER_MEANING = {("shared/http/health.py", "begin")}
_NOW_CALLS = {"now", "utcnow", "today"}
_NOW_SQL = re.compile(
    r"\b(?:now\s*\(\s*\)|utcnow|current_timestamp|localtimestamp|transaction_timestamp)", re.IGNORECASE
)
_TRANSACTION_SQL = re.compile(
    r"\s*(?:begin|commit|start\s+transaction|savepoint\s+\w+)\s*;?\s*", re.IGNORECASE
)
_SETTINGS = "shared/settings.py"
_DOORS = "shared/http/doors.py"
_ENVIRONMENT = {"environ", "environb", "getenv", "putenv"}
# These are written so that this file does not hold what it looks for.
_VERSION_COLUMN = "version_id" + "_col"
_TAKES_AWAY = re.compile(
    r"\bDROP\s+(?!INDEX)|\bRENAME\b|\bTRUNCATE\b|\bSET\s+NOT\s+NULL|\bALTER\s+COLUMN\s+\w+\s+TYPE\b",
    re.IGNORECASE,
)
_MAKES_INDEX = re.compile(r"\bCREATE\s+(?:UNIQUE\s+)?INDEX\s+\w+\s+ON\s+([\w.]+)", re.IGNORECASE)
_MAKES_TABLE = re.compile(r"\bCREATE\s+TABLE\s+([\w.]+)", re.IGNORECASE)
_RELEASE = re.compile(r"\d+\.\d+\.\d+")
_MACHINE = re.compile(
    r"(?<![\w.])[/]work/|[/]tmp/lab|[.]pyenv|(?<![\w.])[/]root/|(?<![\w.])[/]home/\w+/|[-]-(?:extra-)?index-url\s"
    r"|https?:[/]/[^\s\"']*(?:[p]ypi|[/]simple\b)"
)
_TEXT = {
    ".py",
    ".md",
    ".toml",
    ".lock",
    ".yml",
    ".yaml",
    ".json",
    ".sh",
    ".sql",
    ".html",
    ".css",
    ".js",
    ".mako",
    ".in",
    "",
}
_SKIP = {".git", ".hypothesis", ".venv", "__pycache__", "node_modules", "dist", "build", "static"}

_FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True, order=True)
class Violation:
    """One broken rule. `path` is relative to the root, with slashes."""

    path: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule} {self.message}"


@dataclass(frozen=True, slots=True)
class _Source:
    path: str
    tree: ast.Module

    def found(self, node: ast.AST, rule: str, message: str) -> Violation:
        return Violation(self.path, getattr(node, "lineno", 1), rule, message)


@dataclass(frozen=True, slots=True)
class _Text:
    node: ast.AST
    value: str


def check(root: Path = ROOT) -> list[Violation]:
    """Every violation under `root`, in order. Raises SyntaxError for a file that is not Python."""
    found: list[Violation] = []
    for path in _files(root):
        name = path.relative_to(root).as_posix()
        text = path.read_text(encoding="utf-8", errors="replace")
        found += _machine_paths(name, text)
        if path.suffix == ".sql":
            found += _no_now_in_sql(name, text)
        if path.suffix == ".py" and name.startswith(tuple(f"{part}/" for part in CODE)):
            source = _Source(name, ast.parse(text, filename=name))
            for rule in _RULES:
                found += rule(source)
    return sorted(found)


def main() -> int:
    """Print what is wrong; 1 when something is."""
    found = check()
    for violation in found:
        sys.stderr.write(f"{violation}\n")
    sys.stderr.write(f"own lints: {len(found) or 'no'} violations\n")
    return 1 if found else 0


def _files(root: Path) -> Iterator[Path]:
    # Path.walk came with Python 3.12 only.
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in _SKIP and not name.endswith("_cache"))
        for name in sorted(set(files) - _SKIP):
            path = Path(folder) / name
            if path.suffix in _TEXT and not path.is_symlink():
                yield path


def _once_each(source: _Source) -> Iterator[Violation]:
    for node, function in _calls(source.tree):
        if not isinstance(node.func, ast.Attribute):
            continue
        name = node.func.attr
        if (source.path, name) in _OTHER_MEANING:
            continue
        if name == "begin_nested":
            yield source.found(
                node, "ONCE", "no SAVEPOINT: a batch that fails is run again without its culprit"
            )
        elif name in _HOME_OF and source.path != _HOME_OF[name]:
            yield source.found(node, "ONCE", f".{name}( belongs in {_HOME_OF[name]} only")
        elif name in _HOME_OF and not _passes_fault_point(function):
            yield source.found(node, "FAULT", f".{name}( without a fault_point(...) in the same function")


def _no_raw_transactions(source: _Source) -> Iterator[Violation]:
    if source.path in _HOME_OF.values():
        return
    for text in _strings(source.tree):
        if text.value.isupper() and _TRANSACTION_SQL.fullmatch(text.value):
            message = f"SQL {text.value.strip()!r} belongs in shared/db/transaction.py only"
            yield source.found(text.node, "ONCE", message)


def _no_now(source: _Source) -> Iterator[Violation]:
    if not _holds_tables(source.path):
        return
    for node, _ in _calls(source.tree):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called in _NOW_CALLS:
            yield source.found(
                node, "CLOCK", f"{called}() in a model or migration: times come from shared.clock"
            )
    for text in _strings(source.tree):
        sql = _NOW_SQL.search(text.value)
        if sql:
            message = f"{sql[0]} in a model or migration: times come from shared.clock"
            yield source.found(text.node, "CLOCK", message)


def _no_now_in_sql(name: str, text: str) -> Iterator[Violation]:
    for number, line in enumerate(text.splitlines(), start=1):
        sql = _NOW_SQL.search(line)
        if sql:
            yield Violation(name, number, "CLOCK", f"{sql[0]} in a schema: use clock_timestamp()")


def _two_phases(source: _Source) -> Iterator[Violation]:
    """What one release still uses the next one takes away: else they cannot run side by side."""
    if "/migrations/versions/" not in source.path:
        return
    said = _assigned(source.tree)
    if said.get("phase") not in ("expand", "contract"):
        yield source.found(source.tree, "PHASE", 'say phase = "expand" or phase = "contract"')
    if said.get("phase") == "contract" and not _RELEASE.fullmatch(str(said.get("expanded_in"))):
        message = (
            'say expanded_in = "x.y.z": the release after which nothing uses any more what is taken away'
        )
        yield source.found(source.tree, "PHASE", message)
    if said.get("phase") == "expand":
        for text in _strings(source.tree):
            if away := _TAKES_AWAY.search(text.value):
                message = (
                    f"{away[0].upper()}: what running processes use is taken away in a contract migration"
                )
                yield source.found(text.node, "PHASE", message)


def _indexes_beside_traffic(source: _Source) -> Iterator[Violation]:
    if "/migrations/versions/" not in source.path:
        return
    texts = list(_strings(source.tree))
    new = {found[1] for text in texts for found in _MAKES_TABLE.finditer(text.value)}
    for text in texts:
        for found in _MAKES_INDEX.finditer(text.value):
            if found[1] not in new:
                message = f"{found[1]} may be large: use shared.db.concurrently and say concurrently = True"
                yield source.found(text.node, "INDEX", message)
    imports = [n for n in ast.walk(source.tree) if isinstance(n, ast.ImportFrom)]
    uses = any(node.module == "shared.db.concurrently" for node in imports)
    if uses != (_assigned(source.tree).get("concurrently") is True):
        message = "concurrently = True, if and only if it uses shared.db.concurrently"
        yield source.found(source.tree, "INDEX", message)


def _assigned(tree: ast.Module) -> dict[str, object]:
    """The constants of a module."""
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _one_environment(source: _Source) -> Iterator[Violation]:
    if source.path == _SETTINGS or source.path.startswith("deploy/"):
        return
    message = f"the environment is read in {_SETTINGS} only; take settings as an argument"
    for node in ast.walk(source.tree):
        imported = isinstance(node, ast.ImportFrom) and node.module == "os"
        names = (
            {alias.name for alias in node.names} if isinstance(node, ast.ImportFrom) and imported else set()
        )
        if names & _ENVIRONMENT or (isinstance(node, ast.Attribute) and node.attr in _ENVIRONMENT):
            yield source.found(node, "ENV", message)


def _one_kind_of_door(source: _Source) -> Iterator[Violation]:
    for node, _ in _calls(source.tree):
        if getattr(node.func, "id", "") == "APIRouter" and source.path != _DOORS:
            yield source.found(node, "DOOR", f"routers are made by `doors` in {_DOORS}")


def _no_version_column(source: _Source) -> Iterator[Violation]:
    for node in ast.walk(source.tree):
        named = isinstance(node, ast.Constant) and node.value == _VERSION_COLUMN
        if named or (isinstance(node, ast.keyword) and node.arg == _VERSION_COLUMN):
            yield source.found(
                node, "VERSION", f"no {_VERSION_COLUMN}: it turns batched updates into single ones; use seq"
            )


_RULES: tuple[Callable[[_Source], Iterator[Violation]], ...] = (
    _once_each,
    _no_raw_transactions,
    _no_now,
    _two_phases,
    _indexes_beside_traffic,
    _one_environment,
    _one_kind_of_door,
    _no_version_column,
)


def _machine_paths(name: str, text: str) -> Iterator[Violation]:
    for number, line in enumerate(text.splitlines(), start=1):
        found = _MACHINE.search(line)
        if found:
            yield Violation(name, number, "PLACE", f"{found[0].strip()!r} is true on one machine only")


def _holds_tables(path: str) -> bool:
    parts = path.split("/")
    return "migrations" in parts or parts[-1] == "models.py"


def _calls(tree: ast.AST, function: ast.AST | None = None) -> Iterator[tuple[ast.Call, ast.AST | None]]:
    """Every call with the innermost function that holds it."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Call):
            yield node, function
        yield from _calls(node, node if isinstance(node, _FUNCTION) else function)


def _passes_fault_point(function: ast.AST | None) -> bool:
    if function is None:
        return False
    return any(
        isinstance(node, ast.Call)
        and getattr(node.func, "id", getattr(node.func, "attr", "")) == "fault_point"
        for node in ast.walk(function)
    )


def _strings(tree: ast.AST) -> Iterator[_Text]:
    """Every string of the code, parts of f-strings included, docstrings not."""
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield _Text(node, node.value)


if __name__ == "__main__":
    raise SystemExit(main())
