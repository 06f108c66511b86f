"""jobs, and the outbox handed on.

Revision: 4dbb72da4d23
Follows: 1f0c5a9be7d4
Written: 2026-11-29 02:21 UTC
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from service.migrations import op

revision: str = "4dbb72da4d23"
down_revision: str | tuple[str, ...] | None = "1f0c5a9be7d4"
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "shelfmark_consumers",
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("number", sa.BigInteger(), server_default="0", nullable=False, comment="of the last note that it was told of"),
        sa.Column("holder", sa.Text(), nullable=True, comment="which relay serves it"),
        sa.Column("held_until", sa.DateTime(timezone=True), server_default=sa.text("'-infinity'"), nullable=False),
        sa.Column("served_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_shelfmark_consumers")),
    )
    op.create_table(
        "shelfmark_jobs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("args", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("key", sa.Text(collation="C"), nullable=True, comment="no two open jobs have the same"),
        sa.Column(
            "asked_by",
            sa.Text(collation="C"),
            server_default="",
            nullable=False,
            comment="the API key's prefix; empty: the service itself",
        ),
        sa.Column("state", sa.Text(collation="C"), server_default="queued", nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False, comment="failures after which it is given up"),
        sa.Column("lease", sa.Double(), nullable=False, comment="seconds after which a run that says nothing is taken for dead"),
        sa.Column("claim", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "handed", sa.Boolean(), server_default="false", nullable=False, comment="it was handed out, and no run has begun"
        ),
        sa.Column(
            "advanced", sa.Boolean(), server_default="false", nullable=False, comment="the present run has kept some progress"
        ),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("checkpoint", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("done", sa.BigInteger(), nullable=True),
        sa.Column("total", sa.BigInteger(), nullable=True),
        sa.Column("message", sa.Text(collation="C"), nullable=True),
        sa.Column("result", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("error", sa.Text(collation="C"), nullable=True),
        sa.Column("cancel_at", sa.DateTime(timezone=True), nullable=True, comment="when somebody asked for its end"),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        sa.CheckConstraint("state IN ('queued', 'running', 'done', 'failed', 'cancelled')", name=op.f("ck_shelfmark_jobs_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shelfmark_jobs")),
    )
    op.create_index("ix_shelfmark_jobs_by_name", "shelfmark_jobs", ["name", sa.literal_column("id DESC")], unique=False)
    op.create_index("ix_shelfmark_jobs_by_state", "shelfmark_jobs", ["state", sa.literal_column("id DESC")], unique=False)
    op.create_index(
        "ix_shelfmark_jobs_due",
        "shelfmark_jobs",
        ["due_at", "id"],
        unique=False,
        postgresql_where=sa.text("state IN ('queued', 'running')"),
    )
    op.create_index(
        "ix_shelfmark_jobs_finished",
        "shelfmark_jobs",
        ["finished_at"],
        unique=False,
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_index("ix_shelfmark_jobs_of_key", "shelfmark_jobs", ["asked_by", sa.literal_column("id DESC")], unique=False)
    op.create_index(
        "ix_shelfmark_jobs_of_key_by_state", "shelfmark_jobs", ["asked_by", "state", sa.literal_column("id DESC")], unique=False
    )
    op.create_index(
        "ix_shelfmark_jobs_unstarted", "shelfmark_jobs", ["due_at"], unique=False, postgresql_where=sa.text("handed IS true")
    )
    op.create_index(
        "uq_shelfmark_jobs_key",
        "shelfmark_jobs",
        ["key"],
        unique=True,
        postgresql_where=sa.text("key IS NOT NULL AND state IN ('queued', 'running')"),
    )
    op.create_row_version("shelfmark_jobs")
    op.create_table(
        "shelfmark_schedules",
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("every", sa.Interval(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("fired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("job_id", sa.BigInteger(), nullable=True, comment="the last job that it asked for"),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_shelfmark_schedules")),
    )
    op.create_table(
        "shelfmark_workers",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False, comment="jobs that it runs at the same time"),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shelfmark_workers")),
    )


def downgrade() -> None:
    """Go back."""
    op.drop_table("shelfmark_workers")
    op.drop_table("shelfmark_schedules")
    op.drop_row_version("shelfmark_jobs")
    op.drop_index(
        "uq_shelfmark_jobs_key",
        table_name="shelfmark_jobs",
        postgresql_where=sa.text("key IS NOT NULL AND state IN ('queued', 'running')"),
    )
    op.drop_index("ix_shelfmark_jobs_unstarted", table_name="shelfmark_jobs", postgresql_where=sa.text("handed IS true"))
    op.drop_index("ix_shelfmark_jobs_of_key_by_state", table_name="shelfmark_jobs")
    op.drop_index("ix_shelfmark_jobs_of_key", table_name="shelfmark_jobs")
    op.drop_index("ix_shelfmark_jobs_finished", table_name="shelfmark_jobs", postgresql_where=sa.text("finished_at IS NOT NULL"))
    op.drop_index("ix_shelfmark_jobs_due", table_name="shelfmark_jobs", postgresql_where=sa.text("state IN ('queued', 'running')"))
    op.drop_index("ix_shelfmark_jobs_by_state", table_name="shelfmark_jobs")
    op.drop_index("ix_shelfmark_jobs_by_name", table_name="shelfmark_jobs")
    op.drop_table("shelfmark_jobs")
    op.drop_table("shelfmark_consumers")
