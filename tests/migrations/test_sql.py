"""SQL cut into statements and clauses, whatever stands in quotes, brackets and comments."""

import re

import pytest

from service.migrations.sql import NAME, clauses, statements, unquoted


@pytest.mark.parametrize(
    ("sql", "cut"),
    [
        ("", []),
        (" ; ;\n", []),
        ("BEGIN;\nCOMMIT;", ["BEGIN", "COMMIT"]),
        ("-- Running upgrade; a -> b\nSELECT 1;\n/* two;\nlines */ SELECT\n  2", ["SELECT 1", "SELECT 2"]),
        ("COMMENT ON TABLE a IS 'it''s; here'; SELECT 1", ["COMMENT ON TABLE a IS 'it''s; here'", "SELECT 1"]),
        (r"SELECT E'a\';b'; SELECT 1", [r"SELECT E'a\';b'", "SELECT 1"]),
        ('CREATE TABLE "a;b" (c int)', ['CREATE TABLE "a;b" (c int)']),
        ("DO $$ BEGIN a; b; END $$; SELECT 1", ["DO $$ BEGIN a; b; END $$", "SELECT 1"]),
        ("AS $one$ x; $$ y; $one$; SELECT 1", ["AS $one$ x; $$ y; $one$", "SELECT 1"]),
    ],
)
def test_statements(sql: str, cut: list[str]) -> None:
    assert list(statements(sql)) == cut


def test_clauses_are_divided_outside_of_brackets() -> None:
    assert list(clauses("ADD a numeric(3, 2), ADD CHECK (b IN ('x, y', f(1, 2))), DROP c")) == [
        "ADD a numeric(3, 2)",
        "ADD CHECK (b IN ('x, y', f(1, 2)))",
        "DROP c",
    ]


def test_what_is_quoted_can_be_left_out() -> None:
    assert unquoted("""DEFAULT 'f(x)' || "g(" || h(1)""") == "DEFAULT  ||  || h(1)"


@pytest.mark.parametrize("name", ["books", "public.books", '"Books"', 'public."my books"', "a$1"])
def test_names(name: str) -> None:
    found = re.fullmatch(NAME, name)
    assert found
    assert found[1] == name
