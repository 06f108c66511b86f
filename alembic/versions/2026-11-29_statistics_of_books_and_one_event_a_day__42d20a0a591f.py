"""statistics of books, and one event a day for what is overdue.

Revision: 42d20a0a591f
Follows: e2bbfc66668d
Written: 2026-11-29 03:17 UTC
"""

import sqlalchemy as sa

from service.migrations import op

revision: str = "42d20a0a591f"
down_revision: str | tuple[str, ...] | None = "e2bbfc66668d"
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "book_statistics",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("book_id", sa.BigInteger(), nullable=False),
        sa.Column("loans", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("waiting", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("counted_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        sa.ForeignKeyConstraint(["book_id"], ["books.id"], name=op.f("fk_book_statistics_book_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_book_statistics")),
    )
    op.create_index("ix_book_statistics_counted", "book_statistics", ["counted_at", "id"], unique=False)
    op.create_index(
        "ix_book_statistics_most_lent",
        "book_statistics",
        [sa.literal_column("loans DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_book_statistics_most_wanted",
        "book_statistics",
        [sa.literal_column("waiting DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index("uq_book_statistics_book", "book_statistics", ["book_id"], unique=True)
    op.create_row_version("book_statistics")


def downgrade() -> None:
    """Go back."""
    op.drop_row_version("book_statistics")
    op.drop_index("uq_book_statistics_book", table_name="book_statistics")
    op.drop_index("ix_book_statistics_most_wanted", table_name="book_statistics")
    op.drop_index("ix_book_statistics_most_lent", table_name="book_statistics")
    op.drop_index("ix_book_statistics_counted", table_name="book_statistics")
    op.drop_table("book_statistics")
