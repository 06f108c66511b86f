"""jobs, and the outbox handed on: indexes.

Revision: 6810cdb8fdf7
Follows: 4dbb72da4d23
Written: 2026-11-29 02:21 UTC
"""

from service.migrations import op

revision: str = "6810cdb8fdf7"
down_revision: str | tuple[str, ...] | None = "4dbb72da4d23"
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    """Go forward."""
    op.build_index("ix_shelfmark_outbox_fresh", "shelfmark_outbox", "btree (id) WHERE (number IS NULL)")
    op.build_index("ix_shelfmark_outbox_number", "shelfmark_outbox", "btree (number)")


def downgrade() -> None:
    """Go back."""
    op.remove_index("ix_shelfmark_outbox_number", "shelfmark_outbox")
    op.remove_index("ix_shelfmark_outbox_fresh", "shelfmark_outbox")
