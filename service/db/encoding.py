"""Whether a database can hold the text of every language, and fold it.

A database made under an empty environment is SQL_ASCII with locale C, where lower() knows A to Z only: a search without regard to
case would silently miss every other letter.
"""

from service.errors import SetupError

# U+00C9 is built in the database, so that neither the client's encoding nor one that lacks the letter stands in between; the
# encoding is asked for inside, because PostgreSQL would compute a constant chr(201) even in a branch that is never taken.
ENCODING_SQL = """
SELECT getdatabaseencoding()::text,
       lower(chr(CASE getdatabaseencoding() WHEN 'UTF8' THEN 201 ELSE 65 END) COLLATE "default")
"""

REMEDY = (
    "Make the database anew, for example: CREATE DATABASE shelfmark TEMPLATE template0 ENCODING 'UTF8' "
    "LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'"
)


def refuse_encoding(encoding: str, folded: str) -> None:
    """Check the one row that `ENCODING_SQL` gives.

    Args:
        encoding: the database's encoding, by PostgreSQL's name.
        folded: what the database makes of a capital E with acute accent.

    Raises:
        SetupError: the database isn't UTF8, or folds ASCII only.
    """
    if encoding != "UTF8":
        raise SetupError(f"The database's encoding is {encoding}, and Shelfmark needs UTF8. {REMEDY}")
    if folded != "é":
        raise SetupError(f"The database's locale folds ASCII letters only: lower('É') isn't 'é'. {REMEDY}")
