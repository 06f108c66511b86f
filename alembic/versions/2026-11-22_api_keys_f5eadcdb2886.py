"""API keys.

Revision: f5eadcdb2886
Follows: e3359519015c
Written: 2026-11-22 15:09 UTC
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from service.migrations import op

revision: str = "f5eadcdb2886"
down_revision: str | tuple[str, ...] | None = "e3359519015c"
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "shelfmark_keys",
        sa.Column("prefix", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False, comment="HMAC of the whole key"),
        sa.Column("signed_by", sa.Text(collation="C"), nullable=False, comment="which of the service's secrets made it"),
        sa.Column("scopes", sa.ARRAY(sa.Text(collation="C")), nullable=False),
        sa.Column(
            "within",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
            comment="name -> the value that rows must have there",
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("replaced_by", sa.Text(collation="C"), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("prefix", name=op.f("pk_shelfmark_keys")),
    )


def downgrade() -> None:
    """Go back."""
    op.drop_table("shelfmark_keys")
