"""A PostgreSQL server of our own: a private folder, a unix socket, nobody else.

The server is started and stopped by us directly, as a foreground child, so that it dies with us: SIGINT, its
fast shutdown, comes from the kernel when the supervisor is killed (SIGTERM would wait for clients to leave).
What it prints holds no statement and no row: those would carry personal data.
"""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from deploy.errors import AlreadyRunning, NotStarted, OtherVersion
from deploy.places import can_enter, make_private
from deploy.postgres_binaries import Binaries, Kind, find_binaries, reachable_binaries
from deploy.processes import (
    Identity,
    all_pids,
    children_of,
    end,
    is_alive,
    kill_pid,
    run,
    spawn,
    wait_until,
)
from deploy.users import DATABASE, system_user
from shared.durable import make_private_file, replace_private
from shared.privacy.secret_files import ADMIN_PASSWORD, MIGRATE, read_private

ADMIN = "onestop_admin"
START_S = 120.0
"""Crash recovery of a large database takes its time."""
STOP_S = 20.0

Mode = Literal["smart", "fast", "immediate"]
_SIGNALS: dict[Mode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}
_LONGEST_SOCKET_PATH = 100
_STATUS_LINE = 7

OPTIONS = {
    "max_connections": "200",
    # Whoever hangs before the log-in holds up what waits for every process, such as DROP DATABASE.
    "authentication_timeout": "10s",
    "shared_buffers": "64MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_checkpoints": "off",
    "log_line_prefix": "%t [%p] ",
    # Failed statements and the DETAIL of an error quote rows.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}


class PostgresServer:
    """One server on one data directory.

    Every log-in needs its password, on the socket too: whoever runs as the same user is not its superuser for
    that. The admin's lies in `secrets_dir`, by default a folder beside the data, made at the first start.
    `run_as` None means: as a user of its own when we are root, else as ourselves; `clients` may reach the
    socket too. `tcp_port` also listens on 127.0.0.1 (for proxies in tests); otherwise only the socket exists.
    `options` are server settings.
    """

    name = "postgres"
    stop_signal = signal.SIGINT
    grace_s = STOP_S
    death_signal = signal.SIGINT

    def __init__(
        self,
        data_dir: Path,
        run_as: Identity | None = None,
        tcp_port: int | None = None,
        *,
        prefer: Kind = "wheel",
        secrets_dir: Path | None = None,
        clients: Identity | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.tcp_port = tcp_port
        self.admin_user = ADMIN
        self._own_secrets = secrets_dir is None
        self.secrets_dir = secrets_dir or self.data_dir.with_name("secrets")
        self._who = run_as or system_user(DATABASE)
        self._clients = clients
        self._found = find_binaries(prefer)
        self._options = {**OPTIONS, **(options or {})}
        self._binaries: Binaries | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._socket_dir: Path | None = None
        self._port = tcp_port or 5432

    @property
    def host(self) -> str:
        """The socket directory: what ONESTOP_DB__HOST takes."""
        if self._socket_dir is None:
            self._socket_dir = self._make_socket_dir()
        return str(self._socket_dir)

    @property
    def port(self) -> int:
        """The port: also part of the socket's name."""
        return self._port

    @property
    def pid(self) -> int | None:
        """The postmaster while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def admin_password(self) -> str:
        """The password of the admin."""
        return read_private(self._password_file)

    @property
    def kind(self) -> Kind:
        """Where the binaries came from."""
        return self._found.kind

    @property
    def major(self) -> int:
        """Major version of the binaries."""
        return self._found.major

    def start(self, output: int = subprocess.DEVNULL, timeout_s: float = START_S) -> None:
        """Make the data directory at the first time, start, wait until it answers, make the database."""
        self.launch(output)
        process = self._process
        assert process is not None
        if not wait_until(lambda: self.is_ready() or process.poll() is not None, timeout_s):
            self.stop("immediate")
            raise NotStarted(
                detail_en=f"PostgreSQL in {self.data_dir} did not answer within {timeout_s:.0f} s"
            )
        if process.poll() is not None:
            raise NotStarted(
                detail_en=f"PostgreSQL ended with code {process.returncode}; see what it printed"
            )
        self.prepare()

    def launch(self, output: int) -> subprocess.Popen[bytes]:
        """Start without waiting. Call it from the main thread (see `processes.spawn`)."""
        self._make_data_dir()
        self._check_version()
        self._clear_stale_pid()
        options = {
            **self._options,
            "port": str(self._port),
            "unix_socket_directories": self.host,
            # Who may enter its folder may try a password.
            "unix_socket_permissions": "0777" if self._clients else "0700",
            "listen_addresses": "127.0.0.1" if self.tcp_port else "",
        }
        self._process = spawn(
            [
                self._programs().path("postgres"),
                "-D",
                self.data_dir,
                *(part for name, value in options.items() for part in ("-c", f"{name}={value}")),
            ],
            output=output,
            death_signal=self.death_signal,
            environment=_environment(),
            run_as=self._who,
            cwd=Path("/"),
        )
        return self._process

    def is_ready(self) -> bool:
        """Does it take connections? Read off its pid file, as pg_ctl does."""
        lines = self._pid_file()
        return (
            self._process is not None
            and len(lines) > _STATUS_LINE
            and lines[0].strip() == str(self._process.pid)
            and lines[_STATUS_LINE].strip() == "ready"
        )

    def prepare(self, database: str = "onestop") -> None:
        """Make the database when it is missing."""
        self.psql(
            f"SELECT 'CREATE DATABASE {database}' WHERE NOT EXISTS "
            f"(SELECT 1 FROM pg_database WHERE datname = '{database}') \\gexec\n"
        )

    def psql(self, script: str, database: str = "postgres") -> str:
        """Run statements as the admin through the socket; what they print."""
        # Its password in a file: what stands in the environment can be read in /proc.
        with tempfile.NamedTemporaryFile(
            "w", encoding="ascii", prefix="onestop-", suffix=".pgpass"
        ) as pass_file:
            pass_file.write(f"*:*:*:*:{self.admin_password}\n")
            pass_file.flush()
            answer = self._run_psql(script, database, pass_file.name)
        if answer.returncode != 0:
            raise NotStarted(detail_en=f"PostgreSQL refused: {answer.stderr.strip()}")
        return answer.stdout

    def _run_psql(self, script: str, database: str, pass_file: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *(self._programs().path("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"),
                *("-h", self.host, "-p", str(self._port), "-U", ADMIN, "-d", database),
            ],
            input=script,
            capture_output=True,
            encoding="utf-8",
            env={**_environment(), "PGPASSFILE": pass_file},
            check=False,
        )

    def stop(self, mode: Mode = "fast", grace_s: float = STOP_S) -> None:
        """Stop and wait; does nothing when it does not run. SIGKILL after `grace_s` seconds."""
        if self._process is not None:
            end(self._process, _SIGNALS[mode], grace_s)
        self.cleanup()

    def kill(self) -> None:
        """SIGKILL to all of it at once, as a power cut would; the next start recovers."""
        if self._process is None or self._process.poll() is not None:
            return
        # Stopped first, so that it starts no further child; each of them leads a session of its own.
        self._process.send_signal(signal.SIGSTOP)
        for pid in (*children_of(self._process.pid), self._process.pid):
            kill_pid(pid)
        self._process.wait()
        wait_until(lambda: not self._left_here(), STOP_S)

    def cleanup(self) -> None:
        """Remove a socket directory that had to lie under /tmp."""
        if self._socket_dir is not None and self._socket_dir.parent != self.data_dir.parent:
            shutil.rmtree(self._socket_dir, ignore_errors=True)
            self._socket_dir = None

    @property
    def _password_file(self) -> Path:
        return self.secrets_dir / MIGRATE / ADMIN_PASSWORD

    def _programs(self) -> Binaries:
        if self._binaries is None:
            self._binaries = reachable_binaries(self._found, self._who, self.data_dir.parent / "binaries")
        return self._binaries

    def _make_socket_dir(self) -> Path:
        folder = self.data_dir.parent / "socket"
        if len(str(folder / f".s.PGSQL.{self._port}")) >= _LONGEST_SOCKET_PATH:
            folder = Path(tempfile.mkdtemp(prefix="onestop-", dir="/tmp"))
        make_private(folder, self._who)
        if self._who is not None and self._clients is not None:
            os.chown(folder, self._who.uid, self._clients.gid)
            folder.chmod(0o710)
        return folder

    def _make_data_dir(self) -> None:
        if (self.data_dir / "PG_VERSION").exists():
            if self._who is not None and self.data_dir.stat().st_uid != self._who.uid:
                self._who.own_tree(self.data_dir)
            return
        if not can_enter(self._who, self.data_dir):
            raise NotStarted(
                detail_en=f"`{DATABASE}`, who runs PostgreSQL for root, cannot enter {self.data_dir.parent}: "
                "choose a folder that others may walk into, with --data-dir"
            )
        # In a folder of its own, renamed when it is whole: an interrupted initdb leaves nothing in the way.
        half = self.data_dir.with_name(self.data_dir.name + ".half")
        shutil.rmtree(half, ignore_errors=True)
        make_private(half, self._who)
        if self._own_secrets:
            make_private(self._password_file.parent)
            make_private_file(self._password_file, _new_password)
        # PostgreSQL's user may not walk to the password, so it is given a copy for the moment.
        copy = half.with_name(half.name + ".password")
        replace_private(copy, self.admin_password + "\n", self._who)
        try:
            answer = run(
                [
                    *(self._programs().path("initdb"), "-D", half, "-U", ADMIN, "-k", "-E", "UTF8"),
                    *("--locale=C", "--auth=scram-sha-256", "--pwfile", copy, "--no-instructions"),
                ],
                environment=_environment(),
                run_as=self._who,
            )
        finally:
            copy.unlink()
        if answer.returncode != 0:
            shutil.rmtree(half, ignore_errors=True)
            raise NotStarted(detail_en=f"initdb failed in {self.data_dir.parent}: {answer.stdout.strip()}")
        if self.data_dir.is_dir() and not any(self.data_dir.iterdir()):
            self.data_dir.rmdir()
        half.rename(self.data_dir)

    def _check_version(self) -> None:
        written_by = (self.data_dir / "PG_VERSION").read_text(encoding="utf-8").strip()
        if written_by == str(self._found.major):
            return
        raise OtherVersion(
            detail_en=f"{self.data_dir} was written by PostgreSQL {written_by}, and {self._found.major} is "
            f"here. With the programs of version {written_by}: start it on that folder, "
            f"`pg_dumpall -h <socket folder> -U {ADMIN} > all.sql`, stop it, and move the folder away; then "
            "start onestop, which makes a new one, and read the dump: "
            f"`psql -h {self.host} -U {ADMIN} -d postgres -f all.sql`"
        )

    def _clear_stale_pid(self) -> None:
        """Wait for a server that is on its way out, its last child too: each holds the shared memory, and a
        new server refuses to start beside it. Forget one whose pid now belongs to something else."""
        if not wait_until(lambda: not self._left_here(), STOP_S):
            pids = ", ".join(map(str, self._left_here()))
            raise AlreadyRunning(
                detail_en=f"PostgreSQL already runs on {self.data_dir} as process {pids}; stop that one first"
            )
        # PostgreSQL takes any live process with that pid for its forerunner: wrong after a reboot.
        (self.data_dir / "postmaster.pid").unlink(missing_ok=True)
        (Path(self.host) / f".s.PGSQL.{self._port}.lock").unlink(missing_ok=True)

    def _left_here(self) -> list[int]:
        """The processes that work on this data directory: a server and its children stand in it."""
        if not Path("/proc/self").exists():
            pid = self._written_pid()
            return [pid] if pid is not None and is_alive(pid) else []
        here = self.data_dir.resolve()
        return [pid for pid in all_pids() if is_alive(pid) and _stands_in(pid, here)]

    def _written_pid(self) -> int | None:
        lines = self._pid_file()
        return int(lines[0]) if lines and lines[0].strip().isdecimal() else None

    def _pid_file(self) -> list[str]:
        try:
            return (self.data_dir / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []


def _stands_in(pid: int, folder: Path) -> bool:
    about = Path(f"/proc/{pid}")
    try:
        is_server = (about / "comm").read_text(encoding="utf-8", errors="replace").strip() == "postgres"
        return is_server and (about / "cwd").resolve() == folder
    except OSError:
        return False  # ended meanwhile, or somebody else's


def _new_password() -> str:
    return secrets.token_urlsafe(32) + "\n"


def _environment() -> dict[str, str]:
    """Nothing of the caller's: PGDATA, PGPORT and the like would change what we asked for."""
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
