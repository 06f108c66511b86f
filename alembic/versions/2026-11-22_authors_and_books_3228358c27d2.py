"""authors and books.

Revision: 3228358c27d2
Follows: nothing
Written: 2026-11-22 11:57 UTC
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from service.migrations import op

revision: str = "3228358c27d2"
down_revision: str | tuple[str, ...] | None = None
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    """Go forward."""
    op.create_extension("pg_trgm")
    op.create_row_version_function()
    op.create_table(
        "authors",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_authors")),
    )
    op.create_index(
        "ix_authors_by_name", "authors", [sa.literal_column('(lower(name COLLATE "default") COLLATE "C")'), "id"], unique=False
    )
    op.create_index(
        "ix_authors_search_name",
        "authors",
        [sa.literal_column('(lower(name COLLATE "default") COLLATE "C")').label("folded")],
        unique=False,
        postgresql_using="gin",
        postgresql_ops={"folded": "gin_trgm_ops"},
    )
    op.create_index("uq_authors_name", "authors", [sa.literal_column('(lower(name COLLATE "default") COLLATE "C")')], unique=True)
    op.create_row_version("authors")
    op.create_table(
        "books",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("isbn13", sa.Text(collation="C"), nullable=True),
        sa.Column("author_id", sa.BigInteger(), nullable=False),
        sa.Column("title", sa.Text(collation="C"), nullable=False),
        sa.Column("language", sa.Text(collation="C"), nullable=True),
        sa.Column("published_year", sa.Integer(), nullable=True),
        sa.Column("ratings_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("source", sa.Text(collation="C"), server_default="api", nullable=False),
        sa.Column("source_key", sa.Text(collation="C"), server_default=sa.text("gen_random_uuid()::text"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        sa.ForeignKeyConstraint(["author_id"], ["authors.id"], name=op.f("fk_books_author_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_books")),
    )
    op.create_index(
        "ix_books_by_author",
        "books",
        ["author_id", sa.literal_column("published_year DESC NULLS LAST"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_books_by_language",
        "books",
        ["language", sa.literal_column("ratings_count DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_books_by_title", "books", [sa.literal_column('(lower(title COLLATE "default") COLLATE "C")'), "id"], unique=False
    )
    op.create_index(
        "ix_books_newest",
        "books",
        [sa.literal_column("published_year DESC NULLS LAST"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_books_search_attributes",
        "books",
        ["attributes"],
        unique=False,
        postgresql_using="gin",
        postgresql_ops={"attributes": "jsonb_path_ops"},
    )
    op.create_index(
        "ix_books_search_title",
        "books",
        [sa.literal_column('(lower(title COLLATE "default") COLLATE "C")').label("folded")],
        unique=False,
        postgresql_using="gin",
        postgresql_ops={"folded": "gin_trgm_ops"},
    )
    op.create_index("uq_books_isbn13", "books", ["isbn13"], unique=True)
    op.create_index("uq_books_source", "books", ["source", "source_key"], unique=True)
    op.create_row_version("books")


def downgrade() -> None:
    """Go back."""
    op.drop_row_version("books")
    op.drop_index("uq_books_source", table_name="books")
    op.drop_index("uq_books_isbn13", table_name="books")
    op.drop_index("ix_books_search_title", table_name="books", postgresql_using="gin", postgresql_ops={"folded": "gin_trgm_ops"})
    op.drop_index(
        "ix_books_search_attributes", table_name="books", postgresql_using="gin", postgresql_ops={"attributes": "jsonb_path_ops"}
    )
    op.drop_index("ix_books_newest", table_name="books")
    op.drop_index("ix_books_by_title", table_name="books")
    op.drop_index("ix_books_by_language", table_name="books")
    op.drop_index("ix_books_by_author", table_name="books")
    op.drop_table("books")
    op.drop_row_version("authors")
    op.drop_index("uq_authors_name", table_name="authors")
    op.drop_index("ix_authors_search_name", table_name="authors", postgresql_using="gin", postgresql_ops={"folded": "gin_trgm_ops"})
    op.drop_index("ix_authors_by_name", table_name="authors")
    op.drop_table("authors")
    op.drop_row_version_function()
    # The extension pg_trgm stays: it may have been there before, and others may use it.
