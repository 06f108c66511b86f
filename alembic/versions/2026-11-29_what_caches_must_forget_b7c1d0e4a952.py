"""what caches must forget.

Revision: b7c1d0e4a952
Follows: a2b955791236
Written: 2026-11-29 02:30 UTC
"""

import sqlalchemy as sa

from service.migrations import op

revision: str = "b7c1d0e4a952"
down_revision: str | tuple[str, ...] | None = "a2b955791236"
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "shelfmark_drops",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False, comment="drawn at random by whoever writes"),
        sa.Column("of", sa.Text(), nullable=False, comment="the table that was written"),
        sa.Column("noted_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shelfmark_drops")),
    )


def downgrade() -> None:
    """Go back."""
    op.drop_table("shelfmark_drops")
