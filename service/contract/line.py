"""An index as the line of a model's class body that declares it; and which one a question would need."""

import re
from collections.abc import Container, Sequence
from dataclasses import replace
from itertools import chain, count

from service.contract.choose import choose, completed
from service.contract.path import Contract, Key, Path, Term
from service.contract.question import FOLDED, Question, Sort
from service.contract.search import alone

NAME_BYTES = 63  # PostgreSQL cuts longer names


def wanted(contract: Contract, question: Question) -> Path | None:
    """The index that would serve a question that isn't a search; None where one index can't."""
    order = completed(contract, question)
    fixed = sorted(question.equals, key=lambda name: name in contract.primary)  # a total order ends in the primary key
    keys = (*(Key(name, nullable=name in contract.nullable) for name in fixed), *(ordering(contract, sort) for sort in order))
    path = Path(index_name(contract, Path("", keys)), keys)
    return None if choose(replace(contract, paths=(path,)), question) is None else path


def ordering(contract: Contract, sort: Sort) -> Key:
    """The key that gives an order: NULL is smaller than any value there, unlike PostgreSQL's own default."""
    nullable = sort.name in contract.nullable
    return Key(sort.name, sort.descending, nulls_first=sort.descending is not nullable, nullable=nullable)


def index_line(contract: Contract, question: Question) -> str | None:
    """The `Index(...)` line, as it would stand in the class body of the model; None where one index can't serve the question."""
    if question.searches:
        return gin_line(contract.table, question.searches[0].name) if alone(question) else None
    path = wanted(contract, question)
    return line(path) if path else None


def line(path: Path) -> str:
    """The line of a B-tree index."""
    options = ["unique=True"] if path.unique else []
    if path.include:
        options.append(f"postgresql_include=[{', '.join(_quoted(name) for name in sorted(path.include))}]")
    if path.predicate:
        options.append(f"postgresql_where={_where(path.predicate)}")
    return f"Index({', '.join((_quoted(path.name), *map(_key, path.keys), *options))})"


def gin_line(table: str, key: str) -> str:
    """The line of the GIN index that would serve a search of a key: of folded text, or of JSON."""
    column = key.removesuffix(FOLDED)
    name, gin = gin_name(table, key), 'postgresql_using="gin", postgresql_ops='
    if key.endswith(FOLDED):
        return f'Index("{name}", {_body(key)}.label("folded"), {gin}{{"folded": "gin_trgm_ops"}})'
    return f'Index("{name}", {column}, {gin}{{"{column}": "jsonb_path_ops"}})'


def gin_name(table: str, key: str) -> str:
    """What the GIN index of a search is called."""
    return _cut(f"ix_{table}_search_{key.removesuffix(FOLDED)}", "")


def index_name(contract: Contract, path: Path, taken: Container[str] = ()) -> str:
    """What an index is called: after its keys and what it is limited to, and as no other is."""
    names = [key.name for key in path.keys if path.unique or key.name not in contract.primary]
    terms = [_told(term) for term in path.predicate if not term.present or term.name not in names]
    whole = "_".join(("uq" if path.unique else "ix", contract.table, *names, *terms))
    endings = chain([""], map("_{}".format, count(2)))
    return next(name for ending in endings if (name := _cut(whole, ending)) not in taken)


def _told(term: Term) -> str:
    return term.name if term.present else f"{term.name}_{'null' if term.value is None else term.value}"


def _cut(name: str, ending: str) -> str:
    whole = re.sub(r"[_\W]+", "_", name).encode()
    return whole[: NAME_BYTES - len(ending)].decode(errors="ignore") + ending


def _key(key: Key) -> str:
    """A key with its direction, and with the place of its NULLs where that isn't PostgreSQL's own."""
    if key.descending:
        return _body(key.name) + (".desc()" if key.nulls_first else ".desc().nulls_last()")
    return _body(key.name) + (".asc().nulls_first()" if key.nulls_first else "")


def _body(name: str) -> str:
    """A name as the class body spells it."""
    return f"folded({name.removesuffix(FOLDED)})" if name.endswith(FOLDED) else name


def _where(predicate: Sequence[Term]) -> str:
    terms = [_term(term) for term in predicate]
    return terms[0] if len(terms) == 1 else " & ".join(f"({term})" for term in terms)


def _term(term: Term) -> str:
    if term.value is None:
        return f"{_body(term.name)}.{'is_not' if term.negated else 'is_'}(None)"
    if isinstance(term.value, bool):
        return f"{_body(term.name)}.is_({term.value})"
    return f"{_body(term.name)} == {_quoted(term.value) if isinstance(term.value, str) else repr(term.value)}"


def _quoted(text: str) -> str:
    """A text as a Python literal, in the quotes that the formatter wants."""
    bare = repr(text)[1:-1].replace("\\'", "'")
    return f'"{bare}"' if '"' not in bare else repr(text)
