"""A private RabbitMQ node: own data, own ports on 127.0.0.1, own epmd, and the users of one installation.

It uses the scripts of the installed rabbitmq-server, not the packaged service, and never its data. The
scripts become the Erlang machine by exec, so that the kernel's tie to our process holds for the machine.
"""

import json
import os
import shutil
import signal
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

import amqp

from deploy.errors import AlreadyRunning, NotInstalled, NotStarted
from deploy.places import can_enter, make_private
from deploy.processes import (
    Identity,
    claim_port,
    end,
    is_alive,
    kill_session,
    port_is_free,
    run,
    spawn,
    try_claim,
    wait_until,
)
from deploy.secret_files import BROKER, DEFINITIONS
from deploy.users import BROKER as BROKER_USER
from deploy.users import system_user
from shared.bus.topology import user_name
from shared.privacy.secret_files import BROKER_PASSWORD, MIGRATE, read_private

SCRIPTS = Path("/usr/lib/rabbitmq/bin")
START_S = 90.0
STOP_S = 25.0
PORTS_S = 5.0
NODE = "onestop@localhost"

_LOG_BYTES = 10 * 1024 * 1024
_LOOPBACK = "-kernel inet_dist_use_interface {127,0,0,1}"


@dataclass(frozen=True, slots=True)
class _Identity:
    """What stays over restarts, so that clients find the node again."""

    amqp_port: int
    dist_port: int
    epmd_port: int


class RabbitNode:
    """One node on one folder. Start it from the main thread: it ends with the thread that started it.

    Its port is chosen at the first start and stays; one that somebody took meanwhile is replaced. Users and
    what they may do are read from `secrets_dir` at each start. `run_as` None means: as a user of its own when
    we are root, else as ourselves.
    """

    name = "rabbitmq"
    stop_signal = signal.SIGTERM
    grace_s = STOP_S

    def __init__(self, data_dir: Path, secrets_dir: Path, run_as: Identity | None = None) -> None:
        self.data_dir = data_dir.absolute()
        self.secrets_dir = secrets_dir
        self.log_file = self.data_dir / "start.log"
        self._who = run_as or system_user(BROKER_USER)
        self._identity: _Identity | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """amqp:// URL without a user, as settings have it; the same over restarts."""
        return f"amqp://127.0.0.1:{self.port}/"

    @property
    def admin_url(self) -> str:
        """The same with the log-in of who may do everything. A secret: never log it."""
        return f"amqp://{user_name(MIGRATE)}:{self._admin_password()}@127.0.0.1:{self.port}/"

    @property
    def port(self) -> int:
        """The AMQP port on 127.0.0.1."""
        return self._me().amqp_port

    @property
    def pid(self) -> int | None:
        """The Erlang machine's process id while it runs."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    @property
    def pids(self) -> list[int]:
        """What runs for this node: the Erlang machine and its epmd."""
        ours = (self._child, self._epmd)
        return [child.pid for child in ours if child is not None and child.poll() is None]

    def start(self, timeout_s: float = START_S) -> None:
        """Start and return when a log-in works; nothing if it runs already. NotInstalled, NotStarted."""
        if self.pid is not None:
            return
        make_private(self.data_dir)
        if self.log_file.exists() and self.log_file.stat().st_size > _LOG_BYTES:
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
        output = os.open(self.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self.launch(output)
            # Asked once: under load a second log-in may take longer than the first one that succeeded.
            answered = wait_until(lambda: self.pid is None or self.is_ready(), timeout_s, every_s=0.1)
            if not answered or self.pid is None:
                raise NotStarted(
                    f"RabbitMQ 未能启动：{self._last_words()}", f"RabbitMQ: {self._last_words()}"
                )
        except BaseException:
            self.kill()
            raise
        finally:
            os.close(output)

    def launch(self, output: int) -> subprocess.Popen[bytes]:
        """Start without waiting; both outputs go to the file descriptor `output`."""
        server = _script("rabbitmq-server")
        make_private(self.data_dir)
        self._refuse_second()
        self._end_epmd()
        self.settle_ports()
        self._write_files()
        if self._who is not None:
            if not can_enter(self._who, self.data_dir):
                raise NotStarted(
                    f"运行 RabbitMQ 的用户 {BROKER_USER} 无法进入 {self.data_dir}；请用 --data-dir 另选目录",
                    f"`{BROKER_USER}`, who runs RabbitMQ for root, cannot enter {self.data_dir}: choose a "
                    "folder that others may walk into, with --data-dir",
                )
            self._who.own_tree(self.data_dir)
        environment = self._environment()
        me = self._me()
        # Ours, or the node would start one that detaches itself and survives everybody.
        self._epmd = spawn(
            [_epmd(), "-address", "127.0.0.1", "-port", str(me.epmd_port)],
            output=output,
            environment=environment,
            run_as=self._who,
            cwd=self.data_dir,
        )
        if not wait_until(lambda: not port_is_free(me.epmd_port), 10):
            self._end_epmd()
            raise NotStarted(
                f"epmd 未能监听端口 {me.epmd_port}", f"epmd does not listen on port {me.epmd_port}"
            )
        self._child = spawn(
            [server], output=output, environment=environment, run_as=self._who, cwd=self.data_dir
        )
        return self._child

    def is_ready(self) -> bool:
        """Does the node that we started take an AMQP log-in?"""
        if self.pid is None or port_is_free(self.port):
            return False
        probe = amqp.Connection(
            host=f"127.0.0.1:{self.port}",
            userid=user_name(MIGRATE),
            password=self._admin_password(),
            connect_timeout=2.0,
            read_timeout=3.0,
            write_timeout=3.0,
        )
        try:
            probe.connect()
            probe.close()
        except (amqp.AMQPError, OSError):
            return False
        return True

    def prepare(self) -> None:
        """Nothing is left to do once it answers: the users are in the definitions."""

    def stop(self, grace_s: float = STOP_S) -> None:
        """Shut down in order and end its epmd; SIGKILL after `grace_s` seconds."""
        if self._child is not None:
            end(self._child, self.stop_signal, grace_s)
        self.cleanup()

    def kill(self) -> None:
        """SIGKILL the node and its epmd, as a power cut would; start() recovers."""
        self.kill_now()
        if self._child is not None:
            self._child.wait()
        self.cleanup()

    def kill_now(self) -> None:
        """SIGKILL the node without waiting."""
        if self._child is not None and self._child.poll() is None:
            kill_session(self._child)

    def cleanup(self) -> None:
        """What remains once the node has ended: its epmd."""
        self._end_epmd()
        self._child = None

    def ctl(self, *args: str, timeout_s: float = 60.0) -> str:
        """`rabbitmqctl ARGS` on this node; what it prints. NotStarted with its words when it fails."""
        # Another process may have started it.
        if self.pid is None and port_is_free(self.port):
            raise NotStarted("RabbitMQ 没有运行", "the RabbitMQ node does not run")
        command: list[str | Path] = [_script("rabbitmqctl"), "--quiet", *args]
        answer = run(command, environment=self._environment(), run_as=self._who, timeout_s=timeout_s)
        if answer.returncode != 0:
            said = answer.stdout.strip()
            raise NotStarted(f"rabbitmqctl {args[0]}：{said}", f"rabbitmqctl {args[0]}: {said}")
        return answer.stdout

    def read_definitions(self) -> None:
        """Let the running node know users and permissions of now; none is taken away. NotStarted."""
        copy = self._copy_definitions()
        if self._who is not None:
            self._who.own(copy)
        self.ctl("import_definitions", str(copy))

    def _admin_password(self) -> str:
        return read_private(self.secrets_dir / MIGRATE / BROKER_PASSWORD)

    def _me(self) -> _Identity:
        if self._identity is None:
            file = self.data_dir / "node.json"
            if file.exists():
                self._identity = _Identity(**json.loads(file.read_text(encoding="utf-8")))
            else:
                make_private(self.data_dir)
                self._remember(_Identity(claim_port(), claim_port(), claim_port()))
        assert self._identity is not None
        return self._identity

    def _remember(self, identity: _Identity) -> None:
        self._identity = identity
        _write_private(self.data_dir / "node.json", json.dumps(asdict(identity)))

    def settle_ports(self) -> None:
        """Replace ports that somebody took while the node was down; `url` is what it will be started with."""
        me = self._me()
        ports = (me.amqp_port, me.dist_port, me.epmd_port)
        # A killed node lets go of them a little after its last process has left the process table.
        wait_until(lambda: all(port_is_free(port) for port in ports), PORTS_S)
        kept = [port if port_is_free(port) and try_claim(port) else claim_port() for port in ports]
        if kept != list(ports):
            self._remember(_Identity(*kept))

    def _refuse_second(self) -> None:
        """Wait for a node that is on its way out; two on the same data would destroy them."""
        file = self.data_dir / "node.pid"
        pid = int(file.read_text()) if file.exists() and file.read_text().strip().isdecimal() else None
        if pid is None or wait_until(lambda: not (is_alive(pid) and _is_in(pid, self.data_dir)), STOP_S):
            file.unlink(missing_ok=True)
            return
        raise AlreadyRunning(
            f"RabbitMQ 已在 {self.data_dir} 上运行（进程 {pid}）；请先停止它",
            f"RabbitMQ already runs on {self.data_dir} as process {pid}; stop that one first",
        )

    def _write_files(self) -> None:
        me = self._me()
        lines = [
            f"listeners.tcp.1 = 127.0.0.1:{me.amqp_port}",
            f"load_definitions = {self.data_dir / DEFINITIONS}",
            "disk_free_limit.absolute = 50MB",
            "vm_memory_high_watermark.absolute = 512MB",
            "log.file.level = info",
            "log.console = false",
        ]
        _write_private(self.data_dir / "rabbitmq.conf", "\n".join(lines) + "\n")
        self._copy_definitions()
        _write_private(self.data_dir / "enabled_plugins", "[].\n")
        # Present but empty: else the packaged service's own files in /etc would be read.
        _write_private(self.data_dir / "rabbitmq-env.conf", "")
        _write_private(self.data_dir / "advanced.config", "[].\n")

    def _copy_definitions(self) -> Path:
        copy = self.data_dir / DEFINITIONS
        definitions = self.secrets_dir / BROKER / DEFINITIONS
        _write_private(copy, definitions.read_text(encoding="ascii"))
        return copy

    def _environment(self) -> dict[str, str]:
        me = self._me()
        here = self.data_dir
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(here),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(me.epmd_port),
            # Asks the script to exec the machine instead of waiting for it as a child.
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_NODENAME": NODE,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(me.amqp_port),
            "RABBITMQ_DIST_PORT": str(me.dist_port),
            "RABBITMQ_MNESIA_BASE": str(here / "mnesia"),
            "RABBITMQ_LOG_BASE": str(here / "log"),
            "RABBITMQ_PID_FILE": str(here / "node.pid"),
            "RABBITMQ_CONFIG_FILE": str(here / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(here / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(here / "rabbitmq-env.conf"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(here / "generated"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(here / "enabled_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{_LOOPBACK} -start_epmd false",
            "RABBITMQ_CTL_ERL_ARGS": f"{_LOOPBACK} -start_epmd false",
        }

    def _end_epmd(self) -> None:
        if self._epmd is not None:
            end(self._epmd, signal.SIGKILL, 5.0)
            self._epmd = None

    def _last_words(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")[-800:].strip()


def _script(name: str) -> Path:
    path = SCRIPTS / name
    if path.is_file():
        return path
    raise NotInstalled(
        "未安装 RabbitMQ。请以 root 执行：apt-get install -y rabbitmq-server；"
        "或不设置消息代理（ONESTOP_BROKER_URL），由数据库传递消息",
        "RabbitMQ is not installed. As root: apt-get install -y rabbitmq-server; "
        "or leave ONESTOP_BROKER_URL unset: the database delivers then",
    )


def _epmd() -> Path:
    found = shutil.which("epmd")
    if found is None:
        raise NotInstalled(
            "未安装 epmd。请以 root 执行：apt-get install -y erlang-base",
            "epmd is not installed. As root: apt-get install -y erlang-base",
        )
    return Path(found)


def _is_in(pid: int, folder: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").resolve() == folder.resolve()
    except OSError:
        return not Path("/proc/self").exists()


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
