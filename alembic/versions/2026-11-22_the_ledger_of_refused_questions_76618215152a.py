"""the ledger of refused questions.

Revision: 76618215152a
Follows: 49578256a4c1
Written: 2026-11-22 14:52 UTC
"""

import sqlalchemy as sa

from service.migrations import op

revision: str = "76618215152a"
down_revision: str | tuple[str, ...] | None = "49578256a4c1"
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "shelfmark_refusals",
        sa.Column("table_name", sa.Text(collation="C"), nullable=False),
        sa.Column("shape", sa.Text(collation="C"), nullable=False),
        sa.Column("question", sa.Text(collation="C"), nullable=False),
        sa.Column("times", sa.BigInteger(), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("table_name", "shape", name=op.f("pk_shelfmark_refusals")),
    )


def downgrade() -> None:
    """Go back."""
    op.drop_table("shelfmark_refusals")
