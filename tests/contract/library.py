"""Three contracts with everything in them that an index can be, written down by hand: what the tests in words talk about."""

from service.contract.path import Contract, Key, Path, Term
from service.contract.question import Sort

id_up, id_down = Key("id"), Key("id", descending=True, nulls_first=True)
newest = Key("published_year", descending=True, nullable=True)  # NULLs last
borrowed = Key("borrowed_at", descending=True, nulls_first=True)
returned = Term("returned_at")

books = Contract(
    "books",
    ("id",),
    (
        Path("pk_books", (id_up,), unique=True),
        Path("uq_books_isbn13", (Key("isbn13", nullable=True, text=True),), unique=True),
        Path("uq_books_source", (Key("source", text=True), Key("source_key", text=True)), unique=True),
        Path("ix_books_by_author", (Key("author_id"), newest, id_down)),
        Path("ix_books_newest", (newest, id_down)),
        Path("ix_books_by_language", (Key("language", nullable=True, text=True), Key("ratings_count", descending=True), id_down)),
        Path("ix_books_by_title", (Key("title__folded", text=True), id_up)),
    ),
    (Sort("published_year", descending=True),),
    frozenset({"isbn13", "language", "published_year"}),
)

loans = Contract(
    "loans",
    ("id",),
    (
        Path("pk_loans", (id_up,), unique=True),
        Path("uq_loans_open", (Key("copy_id"),), unique=True, predicate=(returned,)),
        Path("ix_loans_due", (Key("due_on"), id_up), predicate=(returned,)),
        Path("ix_loans_by_copy", (Key("copy_id"), borrowed, id_down)),
        Path("ix_loans_by_member", (Key("member_id"), borrowed, id_down)),
        Path("ix_loans_open_by_member", (Key("member_id"), borrowed, id_down), predicate=(returned,)),
    ),
    (Sort("borrowed_at", descending=True),),
    frozenset({"returned_at"}),
)

holds = Contract(
    "holds",
    ("id",),
    (
        Path("pk_holds", (id_up,), unique=True),
        Path("ix_holds_waiting", (Key("book_id"), Key("placed_at"), id_up), predicate=(Term("status", "waiting"),)),
        Path("uq_holds_waiting", (Key("book_id"), Key("member_id")), unique=True, predicate=(Term("status", "waiting"),)),
        Path("ix_holds_ready", (Key("expires_at", nullable=True), id_up), predicate=(Term("expires_at", negated=True),)),
        Path("uq_holds_slip", (Key("slip", nullable=True),), unique=True, predicate=(Term("slip", negated=True),)),
    ),
    (Sort("placed_at"),),
    frozenset({"expires_at", "slip"}),
)
