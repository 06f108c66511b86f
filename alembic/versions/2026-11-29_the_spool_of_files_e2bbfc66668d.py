"""the spool of files.

Revision: e2bbfc66668d
Follows: 6810cdb8fdf7
Written: 2026-11-29 02:15 UTC
"""

import sqlalchemy as sa

from service.migrations import op

revision: str = "e2bbfc66668d"
down_revision: str | tuple[str, ...] | None = "6810cdb8fdf7"
branch_labels: str | tuple[str, ...] | None = None
depends_on: str | tuple[str, ...] | None = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "shelfmark_files",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False, comment="what people call it; no path"),
        sa.Column("kind", sa.Text(collation="C"), nullable=False, comment="upload, rejects or export"),
        sa.Column(
            "asked_by", sa.Text(collation="C"), server_default="", nullable=False, comment="prefix of the API key that wanted it"
        ),
        sa.Column(
            "place",
            sa.Text(collation="C"),
            nullable=True,
            comment="its name in the shared directory; NULL: its bytes are in shelfmark_chunks",
        ),
        sa.Column("size", sa.BigInteger(), server_default="0", nullable=False, comment="bytes that are committed"),
        sa.Column("chunks", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("sealed_at", sa.DateTime(timezone=True), nullable=True, comment="when it was whole; NULL: it is still written"),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shelfmark_files")),
    )
    op.create_index("ix_shelfmark_files_asked_by", "shelfmark_files", ["asked_by", "created_at"], unique=False)
    op.create_index("ix_shelfmark_files_expires_at", "shelfmark_files", ["expires_at"], unique=False)
    op.create_table(
        "shelfmark_chunks",
        sa.Column("file_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False, comment="counted from 0"),
        sa.Column("bytes", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["file_id"], ["shelfmark_files.id"], name=op.f("fk_shelfmark_chunks_file_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("file_id", "number", name=op.f("pk_shelfmark_chunks")),
    )


def downgrade() -> None:
    """Go back."""
    op.drop_table("shelfmark_chunks")
    op.drop_index("ix_shelfmark_files_expires_at", table_name="shelfmark_files")
    op.drop_index("ix_shelfmark_files_asked_by", table_name="shelfmark_files")
    op.drop_table("shelfmark_files")
