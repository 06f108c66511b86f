"""answers kept for idempotency keys.

Revision: e3359519015c
Follows: 76618215152a
Written: 2026-11-22 14:46 UTC
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from service.migrations import op

revision: str = "e3359519015c"
down_revision: str | tuple[str, ...] | None = "76618215152a"
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "shelfmark_answers",
        sa.Column("id", sa.LargeBinary(), nullable=False, comment="hash of who asked, of what, and under which idempotency key"),
        sa.Column("asked", sa.LargeBinary(), nullable=False, comment="hash of the request"),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shelfmark_answers")),
    )
    op.create_index("ix_shelfmark_answers_answered_at", "shelfmark_answers", ["answered_at"], unique=False)


def downgrade() -> None:
    """Go back."""
    op.drop_index("ix_shelfmark_answers_answered_at", table_name="shelfmark_answers")
    op.drop_table("shelfmark_answers")
