"""the lending library.

Revision: 49578256a4c1
Follows: 3228358c27d2
Written: 2026-11-22 13:00 UTC
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from service.migrations import op

revision: str = "49578256a4c1"
down_revision: str | tuple[str, ...] | None = "3228358c27d2"
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    """Go forward."""
    op.create_extension("pg_trgm")
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("kind", sa.Text(collation="C"), nullable=False),
        sa.Column("subject", sa.Text(collation="C"), nullable=False),
        sa.Column("payload", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index("ix_events_in_time", "events", ["occurred_at", "id"], unique=False)
    op.create_index("ix_events_of_subject", "events", ["subject", sa.literal_column("id DESC")], unique=False)
    op.create_row_version("events")
    op.create_table(
        "members",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("email", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_members")),
    )
    op.create_index(
        "ix_members_search_name",
        "members",
        [sa.literal_column('(lower(name COLLATE "default") COLLATE "C")').label("folded")],
        unique=False,
        postgresql_using="gin",
        postgresql_ops={"folded": "gin_trgm_ops"},
    )
    op.create_index("uq_members_email", "members", [sa.literal_column('(lower(email COLLATE "default") COLLATE "C")')], unique=True)
    op.create_row_version("members")
    op.create_table(
        "copies",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("book_id", sa.BigInteger(), nullable=False),
        sa.Column("barcode", sa.Text(collation="C"), nullable=False),
        sa.Column("branch", sa.Text(collation="C"), nullable=False),
        sa.Column("shelfmark", sa.Text(collation="C"), nullable=False),
        sa.Column("status", sa.Text(collation="C"), server_default="available", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        sa.CheckConstraint("status IN ('available', 'lent', 'set_aside', 'withdrawn')", name=op.f("ck_copies_status")),
        sa.ForeignKeyConstraint(["book_id"], ["books.id"], name=op.f("fk_copies_book_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_copies")),
    )
    op.create_index(
        "ix_copies_of_book", "copies", ["book_id", "status", "id"], unique=False, postgresql_include=["branch", "shelfmark"]
    )
    op.create_index("uq_copies_barcode", "copies", ["barcode"], unique=True)
    op.create_row_version("copies")
    op.create_table(
        "holds",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("book_id", sa.BigInteger(), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=False),
        sa.Column("copy_id", sa.BigInteger(), nullable=True),
        sa.Column("placed_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("status", sa.Text(collation="C"), server_default="waiting", nullable=False),
        sa.Column("ready_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        sa.CheckConstraint("status IN ('waiting', 'ready', 'fulfilled', 'cancelled', 'expired')", name=op.f("ck_holds_status")),
        sa.ForeignKeyConstraint(["book_id"], ["books.id"], name=op.f("fk_holds_book_id")),
        sa.ForeignKeyConstraint(["copy_id"], ["copies.id"], name=op.f("fk_holds_copy_id")),
        sa.ForeignKeyConstraint(["member_id"], ["members.id"], name=op.f("fk_holds_member_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_holds")),
    )
    op.create_index("ix_holds_expiring", "holds", ["expires_at", "id"], unique=False, postgresql_where=sa.text("status = 'ready'"))
    op.create_index("ix_holds_of_book", "holds", ["book_id", "id"], unique=False)
    op.create_index("ix_holds_of_copy", "holds", ["copy_id", "id"], unique=False)
    op.create_index("ix_holds_of_member", "holds", ["member_id", "placed_at", "id"], unique=False)
    op.create_index(
        "ix_holds_queue", "holds", ["book_id", "placed_at", "id"], unique=False, postgresql_where=sa.text("status = 'waiting'")
    )
    op.create_index("uq_holds_copy", "holds", ["copy_id"], unique=True, postgresql_where=sa.text("status = 'ready'"))
    op.create_index("uq_holds_ready", "holds", ["book_id", "member_id"], unique=True, postgresql_where=sa.text("status = 'ready'"))
    op.create_index(
        "uq_holds_waiting", "holds", ["book_id", "member_id"], unique=True, postgresql_where=sa.text("status = 'waiting'")
    )
    op.create_row_version("holds")
    op.create_table(
        "loans",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("copy_id", sa.BigInteger(), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=False),
        sa.Column("borrowed_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("due_on", sa.Date(), nullable=False),
        sa.Column("returned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("renewals", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        sa.ForeignKeyConstraint(["copy_id"], ["copies.id"], name=op.f("fk_loans_copy_id")),
        sa.ForeignKeyConstraint(["member_id"], ["members.id"], name=op.f("fk_loans_member_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_loans")),
    )
    op.create_index(
        "ix_loans_of_copy", "loans", ["copy_id", sa.literal_column("borrowed_at DESC"), sa.literal_column("id DESC")], unique=False
    )
    op.create_index(
        "ix_loans_of_member",
        "loans",
        ["member_id", sa.literal_column("borrowed_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_loans_open_of_member",
        "loans",
        ["member_id", sa.literal_column("borrowed_at DESC"), sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("returned_at IS NULL"),
    )
    op.create_index("ix_loans_overdue", "loans", ["due_on", "id"], unique=False, postgresql_where=sa.text("returned_at IS NULL"))
    op.create_index("uq_loans_open_of_copy", "loans", ["copy_id"], unique=True, postgresql_where=sa.text("returned_at IS NULL"))
    op.create_row_version("loans")


def downgrade() -> None:
    """Go back."""
    op.drop_row_version("loans")
    op.drop_index("uq_loans_open_of_copy", table_name="loans", postgresql_where=sa.text("returned_at IS NULL"))
    op.drop_index("ix_loans_overdue", table_name="loans", postgresql_where=sa.text("returned_at IS NULL"))
    op.drop_index("ix_loans_open_of_member", table_name="loans", postgresql_where=sa.text("returned_at IS NULL"))
    op.drop_index("ix_loans_of_member", table_name="loans")
    op.drop_index("ix_loans_of_copy", table_name="loans")
    op.drop_table("loans")
    op.drop_row_version("holds")
    op.drop_index("uq_holds_waiting", table_name="holds", postgresql_where=sa.text("status = 'waiting'"))
    op.drop_index("uq_holds_ready", table_name="holds", postgresql_where=sa.text("status = 'ready'"))
    op.drop_index("uq_holds_copy", table_name="holds", postgresql_where=sa.text("status = 'ready'"))
    op.drop_index("ix_holds_queue", table_name="holds", postgresql_where=sa.text("status = 'waiting'"))
    op.drop_index("ix_holds_of_member", table_name="holds")
    op.drop_index("ix_holds_of_copy", table_name="holds")
    op.drop_index("ix_holds_of_book", table_name="holds")
    op.drop_index("ix_holds_expiring", table_name="holds", postgresql_where=sa.text("status = 'ready'"))
    op.drop_table("holds")
    op.drop_row_version("copies")
    op.drop_index("uq_copies_barcode", table_name="copies")
    op.drop_index("ix_copies_of_book", table_name="copies", postgresql_include=["branch", "shelfmark"])
    op.drop_table("copies")
    op.drop_row_version("members")
    op.drop_index("uq_members_email", table_name="members")
    op.drop_index("ix_members_search_name", table_name="members", postgresql_using="gin", postgresql_ops={"folded": "gin_trgm_ops"})
    op.drop_table("members")
    op.drop_row_version("events")
    op.drop_index("ix_events_of_subject", table_name="events")
    op.drop_index("ix_events_in_time", table_name="events")
    op.drop_table("events")
    # The extension pg_trgm stays: it may have been there before, and others may use it.
