"""Extensions that an index needs, known by the operator class that it names: also where a database lacks them yet."""

from collections.abc import Iterable

from sqlalchemy import Index, text

EXTENSION_OF = {
    "gin_trgm_ops": "pg_trgm",
    "gist_trgm_ops": "pg_trgm",
    "gin_hstore_ops": "hstore",
    "gist_hstore_ops": "hstore",
    "gin__int_ops": "intarray",
    "gist__int_ops": "intarray",
    "gist_ltree_ops": "ltree",
    "gist__ltree_ops": "ltree",
}
INSTALLED = text("SELECT extname::text FROM pg_extension")


def needed(indexes: Iterable[Index]) -> set[str]:
    """The extensions whose operator classes the indexes name."""
    named = {opclass for index in indexes for opclass in (index.dialect_options["postgresql"]["ops"] or {}).values()}
    classes = {opclass.partition("(")[0].strip().rpartition(".")[2] for opclass in named}
    return {EXTENSION_OF[opclass] for opclass in classes if opclass in EXTENSION_OF}
