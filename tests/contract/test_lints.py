"""Every rule of deploy.lints is broken once on purpose, and the project itself keeps them all."""

from pathlib import Path

import pytest

from deploy.lints import check

_MIGRATION = "services/intake/migrations/versions/0002.py"

BROKEN = [
    ("ONCE", "services/intake/commands.py", "def save(session):\n    session.commit()\n"),
    ("ONCE", "services/intake/web.py", "def save(engine):\n    with engine.begin():\n        pass\n"),
    ("ONCE", "shared/bus/inbox.py", "def handle(session):\n    with session.begin_nested():\n        pass\n"),
    ("ONCE", "services/notify/worker.py", "def say(channel):\n    channel.basic_publish(b'')\n"),
    ("ONCE", "services/approval/worker.py", "def hear(message):\n    message.ack()\n"),
    ("ONCE", "shared/bus/broker.py", "def hear(channel):\n    channel.basic_ack(1)\n"),
    ("ONCE", "shared/bus/host.py", "def hear(channel):\n    channel.send_method(Basic.Nack)\n"),
    ("ONCE", "deploy/migrate.py", "def save(connection):\n    connection.exec_driver_sql('COMMIT')\n"),
    ("FAULT", "shared/db/transaction.py", "def save(session):\n    session.commit()\n"),
    ("FAULT", "shared/bus/broker.py", "def say(channel):\n    channel.basic_publish(b'')\n"),
    (
        "FAULT",
        "shared/bus/consumer.py",
        "def outer(channel):\n    fault_point('a')\n    def hear():\n        channel.basic_ack(1)\n",
    ),
    ("FAULT", "shared/db/transaction.py", "session.commit()\n"),
    ("CLOCK", "services/intake/models.py", "default = func.now()\n"),
    ("CLOCK", "services/intake/models.py", "default = datetime.utcnow()\n"),
    ("CLOCK", _MIGRATION, "phase = 'expand'\nop.execute('ALTER .. SET DEFAULT now()')\n"),
    ("CLOCK", "shared/db/migrations/versions/0001.py", "phase = 'expand'\ntext('CURRENT_TIMESTAMP')\n"),
    ("CLOCK", "shared/bus/schema_v1.sql", "DEFAULT NOW( )\n"),
    ("PHASE", _MIGRATION, "revision = '0002'\n"),
    ("PHASE", _MIGRATION, "phase = 'contract'\nop.execute('DROP TABLE intake.old')\n"),
    ("PHASE", _MIGRATION, "phase = 'expand'\nop.execute('ALTER TABLE a DROP COLUMN b')\n"),
    ("PHASE", _MIGRATION, "phase = 'expand'\nop.execute('ALTER TABLE a RENAME TO b')\n"),
    ("PHASE", _MIGRATION, "phase = 'expand'\nop.execute('ALTER TABLE a ALTER COLUMN b SET NOT NULL')\n"),
    ("PHASE", _MIGRATION, "phase = 'expand'\nop.execute('ALTER TABLE a ALTER COLUMN b TYPE text')\n"),
    ("INDEX", _MIGRATION, "phase = 'expand'\nop.execute('CREATE INDEX a ON intake.cases (b)')\n"),
    ("INDEX", _MIGRATION, "phase = 'expand'\nfrom shared.db.concurrently import create_index\n"),
    ("ENV", "shared/log.py", "import os\nlevel = os.environ['LEVEL']\n"),
    ("ENV", "services/notify/commands.py", "import os\nlevel = os.getenv('LEVEL')\n"),
    ("ENV", "shared/context.py", "from os import environ\n"),
    ("DOOR", "services/intake/web.py", "router = APIRouter(prefix='/api/v1')\n"),
    ("VERSION", "services/intake/models.py", "args = {'version_id_col': 1}\n"),
    ("PLACE", "README.md", "see /" + "work/main\n"),
    ("PLACE", "tests/unit/test_x.py", "python = '/" + "tmp/lab/venv'\n"),
    ("PLACE", "Makefile", "PYTHON := ~/." + "pyenv/shims/python\n"),
    ("PLACE", "deploy/x.sh", "cd /" + "home/somebody/onestop\n"),
    ("PLACE", "requirements.lock", "-" + "-index-url https" + "://pypi.example/simple\n"),
]

KEPT = [
    (
        _MIGRATION,
        "phase = 'expand'\nop.execute('CREATE TABLE intake.a (b int); CREATE INDEX c ON intake.a (b)')\n",
    ),
    (_MIGRATION, "phase = 'contract'\nexpanded_in = '1.4.0'\nop.execute('DROP TABLE intake.old')\n"),
    (
        _MIGRATION,
        "phase = 'expand'\nconcurrently = True\nfrom shared.db.concurrently import create_index\n"
        "create_index('a', on='intake.cases (b)')\n",
    ),
    (
        "shared/db/transaction.py",
        "def save(session):\n    fault_point('a')\n    session.commit()\n    faults.fault_point('b')\n",
    ),
    ("shared/bus/broker.py", "def say(channel):\n    channel.basic_publish(b'')\n    fault_point('b')\n"),
    ("shared/settings.py", "import os\nname = os.environ['NAME']\n"),
    ("deploy/installation.py", "import os\nchild = dict(os.environ)\n"),
    (
        "services/intake/models.py",
        '"""Never now()."""\n\nclass Case:\n    """CURRENT_TIMESTAMP is banned."""\n',
    ),
    ("services/intake/commands.py", "def at(clock):\n    return clock.now()\n"),
    ("tests/bench/celery.py", "def save(session):\n    session.commit()\n"),
    ("README.md", "https://example.org/work/home/x\n"),
]


def plant(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(("rule", "name", "text"), BROKEN)
def test_a_broken_rule_is_found_where_it_is_broken(rule: str, name: str, text: str, tmp_path: Path) -> None:
    plant(tmp_path / "db_installation", name, text)
    found = check(tmp_path / "db_installation")
    assert [(v.rule, v.path) for v in found] == [(rule, name)]
    assert 1 <= found[0].line <= len(text.splitlines())


@pytest.mark.parametrize(("name", "text"), KEPT)
def test_what_is_allowed_is_let_be(name: str, text: str, tmp_path: Path) -> None:
    plant(tmp_path / "db_installation", name, text)
    assert check(tmp_path / "db_installation") == []


def test_files_that_are_not_ours_are_not_read(tmp_path: Path) -> None:
    plant(tmp_path, ".venv/lib/services/x.py", "not python (")
    assert check(tmp_path) == []


def test_the_project_keeps_its_rules() -> None:
    assert [str(violation) for violation in check()] == []
