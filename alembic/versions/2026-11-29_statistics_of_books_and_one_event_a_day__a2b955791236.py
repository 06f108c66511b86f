"""statistics of books, and one event a day for what is overdue: indexes.

Revision: a2b955791236
Follows: 42d20a0a591f
Written: 2026-11-29 03:17 UTC
"""

from service.migrations import op

revision: str = "a2b955791236"
down_revision: str | tuple[str, ...] | None = "42d20a0a591f"
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    """Go forward."""
    op.build_index(
        "uq_events_overdue",
        "events",
        "btree (subject, jsonb_extract_path_text(payload, VARIADIC ARRAY['day'::text])) WHERE (kind = 'loan.overdue'::text)",
        unique=True,
    )


def downgrade() -> None:
    """Go back."""
    op.remove_index("uq_events_overdue", "events")
