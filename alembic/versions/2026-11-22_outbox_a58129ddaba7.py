"""outbox.

Revision: a58129ddaba7
Follows: f5eadcdb2886
Written: 2026-11-22 18:54 UTC
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from service.migrations import op

revision: str = "a58129ddaba7"
down_revision: str | tuple[str, ...] | None = "f5eadcdb2886"
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "shelfmark_outbox",
        sa.Column(
            "id",
            sa.BigInteger(),
            sa.Identity(always=False),
            nullable=False,
            comment="in no particular order: transactions overtake each other",
        ),
        sa.Column("number", sa.BigInteger(), nullable=True, comment="the order in which rows are handed on; NULL until then"),
        sa.Column("subject", sa.Text(), nullable=False, comment="what it is about, as books/7"),
        sa.Column("what", sa.Text(), nullable=False, comment="what happened to it"),
        sa.Column("content", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("noted_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shelfmark_outbox")),
    )


def downgrade() -> None:
    """Go back."""
    op.drop_table("shelfmark_outbox")
