"""Cases with their clock, tasks, the calendar, and the delivery tables."""

from alembic import op

from shared.bus.schema import schema_v1
from shared.db.sealing import guard_v1

revision = "0001"
down_revision = None
phase = "expand"


def upgrade() -> None:
    op.execute(schema_v1("approval"))
    op.execute(
        """
        CREATE TABLE approval.cases (
            number varchar(50) PRIMARY KEY,
            sequence integer NOT NULL,
            last_fact uuid,
            matter varchar(100) NOT NULL,
            matter_version integer NOT NULL,
            region varchar(6) NOT NULL,
            parties jsonb NOT NULL,
            facts jsonb NOT NULL,
            state varchar(40) NOT NULL,
            passed jsonb NOT NULL,
            asked jsonb NOT NULL,
            materials_round integer,
            received_at timestamptz NOT NULL,
            accepted_at timestamptz,
            legal_due_at timestamptz,
            promised_due_at timestamptz,
            provisional boolean NOT NULL,
            closed_at timestamptz
        ) WITH (fillfactor = 70);
        CREATE TABLE approval.tasks (
            id uuid PRIMARY KEY,
            case_no varchar(50) NOT NULL,
            matter varchar(100) NOT NULL,
            step varchar(60) NOT NULL,
            department varchar(60) NOT NULL,
            decides boolean NOT NULL,
            state varchar(20) NOT NULL,
            version integer NOT NULL,
            due_at timestamptz,
            created_at timestamptz NOT NULL,
            officer varchar(100),
            claimed_at timestamptz,
            outcome varchar(40),
            sealed_reason bytea,
            finished_at timestamptz
        );
        CREATE UNIQUE INDEX tasks_case_step ON approval.tasks (case_no, step);
        CREATE INDEX tasks_open ON approval.tasks (department, coalesce(due_at, to_timestamp(0)), id)
            WHERE state <> 'done';
        CREATE INDEX tasks_mine ON approval.tasks (officer, coalesce(due_at, to_timestamp(0)), id)
            WHERE state <> 'done';
        CREATE TABLE approval.task_acts (
            id uuid PRIMARY KEY,
            task uuid NOT NULL,
            case_no varchar(50) NOT NULL,
            supervisor varchar(100) NOT NULL,
            taken_from varchar(100),
            given_to varchar(100),
            sealed_reason bytea NOT NULL,
            done_at timestamptz NOT NULL
        );
        CREATE INDEX task_acts_case ON approval.task_acts (case_no);
        CREATE TABLE approval.work_calendar (
            region varchar(6),
            day date,
            working boolean NOT NULL,
            provisional boolean NOT NULL,
            source varchar(60) NOT NULL,
            PRIMARY KEY (region, day)
        );
        """
    )
    for table in ("tasks", "task_acts"):
        op.execute(guard_v1("approval", table, ("id",), ("sealed_reason",)))
