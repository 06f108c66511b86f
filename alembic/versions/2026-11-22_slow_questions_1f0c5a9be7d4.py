"""slow questions.

Revision: 1f0c5a9be7d4
Follows: a58129ddaba7
Written: 2026-11-22 18:20 UTC
"""

import sqlalchemy as sa

from service.migrations import op

revision: str = "1f0c5a9be7d4"
down_revision: str | tuple[str, ...] | None = "a58129ddaba7"
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "shelfmark_slow_questions",
        sa.Column("table_name", sa.Text(collation="C"), nullable=False),
        sa.Column("path", sa.Text(collation="C"), nullable=False),
        sa.Column("question", sa.Text(collation="C"), nullable=False),
        sa.Column("times", sa.BigInteger(), nullable=False),
        sa.Column("longest_ms", sa.Double(), nullable=False),
        sa.Column("total_ms", sa.Double(), nullable=False),
        sa.Column("plan", sa.Text(collation="C"), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("table_name", "path", "question", name=op.f("pk_shelfmark_slow_questions")),
    )


def downgrade() -> None:
    """Go back."""
    op.drop_table("shelfmark_slow_questions")
