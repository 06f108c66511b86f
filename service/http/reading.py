"""Pages and single rows whose JSON PostgreSQL writes: what the routes of a table and the express lane answer with.

Not every question has such an answer: one that searches, counts or includes relations, is asked by a key that is confined to rows,
or is for a table whose shape is worked out in Python, is for `table.py`; so is all that has to be refused.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from time import perf_counter
from typing import Any
from urllib.parse import unquote

from service.cache.caching import Cache
from service.cache.entries import Held
from service.cache.store import HIT, MISS, PASS, Load
from service.contract.choose import Choice, choose
from service.contract.cursor import Signer
from service.contract.question import Question
from service.contract.shape import shape_of
from service.db import Database, Surface
from service.db.coalescing import Coalescing
from service.db.gate import HELD
from service.db.outline import Sent
from service.db.reading import Compiled, compiled, page_as_json, rows_as_json
from service.db.rendering import rendered
from service.db.statements import AMONG, Asked, values
from service.db.version import Version
from service.db.wire import Wire, wire
from service.errors import InvalidCursor
from service.http.asking import ask, ask_members, fingerprint, parameters_of
from service.http.confining import missing
from service.http.etags import Etags, of_list, view_of
from service.http.forms import CURSOR, Form, Parameters, Shape, deciding, shape, slots
from service.http.showing import Showing
from service.settings import Settings
from service.telemetry.timing import spent

FORMS_MOST = 1000
"""Shapes of questions that are remembered for each table; the oldest makes room."""
SEED_BYTES = 16
NO_HEADERS: Mapping[str, str] = {}
NOT_KEPT: Mapping[str, Mapping[str, str]] = {how: {"X-Cache": how} for how in (MISS, PASS)}
ABSENT = Held(None)
Row = tuple[str, Version]
"""A row as JSON, and its version."""
CURSOR_PERIODS = 24
"""Into so many parts a cursor's life is cut: those given within one of them are the same, so that lists keep their ETags.

Nothing is kept by the cache for longer than such a part, so that no page is answered whose cursor has ended or soon will."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A body of JSON, its ETag, and headers that belong to it."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    etag: bytes = b""


class Reader:
    """Reads one table for one application.

    Attributes:
        missing: why nothing can be read here, as a sentence; None where it can.
        rows: the members wanted -> point reads that are coalesced.
    """

    def __init__(  # what one application has
        self,
        of: Surface,
        showing: Showing,
        database: Database,
        signer: Signer,
        settings: Settings,
        *,
        etags: Etags,
        cache: Cache | None = None,
    ) -> None:
        self.of, self.showing, self.database = of, showing, database
        self._cache, self._kept = cache, cache.tables.get(of.contract.table) if cache else None
        self.missing = lacking(of, showing)
        self.rows: dict[tuple[str, ...] | None, Coalescing[Any, Row]] = {}
        self._signer, self._settings, self._etags = signer, settings, etags
        self._dialect = database.reads.engine.dialect
        self._table = of.contract.table
        self._key: Wire | None = wire(of.type_of(of.primary))
        self._by_key = choose(of.contract, Question({of.primary: None}))
        self._deciding = deciding(of)
        self._forms: dict[Shape, Form | None] = {}
        self._members: dict[bytes, tuple[str, ...] | None] = {b"": None}
        self._seeds: dict[tuple[str, ...] | None, bytes] = {}

    async def page(self, path: str, query: bytes) -> Answer | None:
        """A page of a list.

        Args:
            path: of the URL.
            query: what stands behind it.

        Returns:
            None where this can't be answered here.

        Raises:
            Problem: a parameter or a cursor is wrong, or the database is away, busy or slow.
        """
        if self.missing or self._is_narrowed():
            return None
        parameters = parameters_of(query)
        form = self._form(parameters)
        if form is None:
            return None
        try:
            question = form.question(parameters)
        except ValueError:
            return None  # whoever can say what is wrong is asked
        cursor = next((text for name, text in parameters if name == CURSOR), None)
        return await self._page(form, question, cursor, path, query)

    async def single(self, text: str, query: bytes) -> Answer | None:
        """A row by its primary key.

        Args:
            text: the key, as it stands in the URL.
            query: as for a page.

        Returns:
            None where this can't be answered here.

        Raises:
            Problem: there is no such row, or the database is away, busy or slow.
        """
        if self.missing or self._by_key is None or self._key is None or self._is_narrowed():
            return None
        try:
            key = self._key.parse(text)
            fields = self._members[query] if query in self._members else self._fields(query)
        except (LookupError, ValueError):
            return None
        rows, view = self.rows.get(fields) or self._rows(fields), view_of(self.showing.shape, fields or self.showing.members)

        async def load() -> Held:
            began = perf_counter()
            row = await rows.get(key)
            spent(HELD, perf_counter() - began)  # in another task, which knows nothing of this request
            return ABSENT if row is None else Held(row[0].encode(), self._etags.row(row[1], view))

        if self._cache and self._kept:
            held, how = await self._cache.row(self._kept, self._seeds[fields], key, load)
            headers = told(held, how)
        else:
            held, headers = await load(), NO_HEADERS
        if held.body is None:
            raise missing(self.of.contract.name, key)
        return Answer(held.body, headers, held.etag)

    async def _page(self, form: Form, question: Question, cursor: str | None, path: str, query: bytes) -> Answer:
        choice, bound, last = form.choice, None, None
        if cursor is not None:
            bound = fingerprint(self.of, question, choice.order)
            last = opened(self._signer, self.of, choice, bound, cursor)
        statement = self._statement(form, question, last)
        given = partial(statement.arguments, values(question, last))
        ready = partial(self.database.catalogue.check, self._table, choice.path.name)
        took = partial(self._took, question, choice.path.name, statement.sql)

        async def load() -> Held:
            (record,) = await self.database.fetch(statement.sql, given, ready, took)
            data, following = (record[0] or "").encode(), b""
            body = b'{"data":[%b],"next":null}' % data
            if record[1] > form.limit and choice.kind == "list":
                sealing = bound or fingerprint(self.of, question, choice.order)
                following = sealed(self._signer, self.of, choice, sealing, statement.result(record)[2:]).encode()
                body = b'{"data":[%b],"next":"%b"}' % (data, following)
            return Held(body, of_list(body), following)

        seed = form.seeds.get(statement.sql) or self._seed(form, question, statement)
        # the end of a range that a later page is past is not among what is given, but its next cursor is bound to it
        apart = given if bound is None else lambda: [*given(), bound]
        held, headers = await self.through(seed, (question, choice), apart, load)
        if held.cursor:
            headers = {**link(path, query, held.cursor.decode()), **headers}
        return Answer(held.body or b"", headers, held.etag)

    async def through(
        self, seed: bytes, asked: tuple[Question, Choice], given: Callable[[], Sequence[Any]], load: Load
    ) -> tuple[Held, Mapping[str, str]]:
        """A page out of the cache, if the table is kept there, else read; and the headers that say which.

        Args:
            seed: what it has in common with other pages: a hash.
            asked: the question, and its path.
            given: the values that tell it from those.
            load: reads it.

        Raises:
            Problem: the database refused.
        """
        if self._cache is None or self._kept is None:
            return await load(), NO_HEADERS
        held, how = await self._cache.page(self._kept, seed, asked, given(), load)
        return held, told(held, how)

    def _seed(self, form: Form, question: Question, statement: Compiled) -> bytes:
        """What pages have in common that are one statement's, in one order, with cursors for the same filters."""
        common = repr((statement.sql, form.choice.order, sorted(question.equals), form.limit)).encode()
        return form.seeds.setdefault(statement.sql, blake2b(common, digest_size=SEED_BYTES).digest())

    def _took(self, question: Question, path: str, sql: str, seconds: float, given: Sequence[Any]) -> None:
        """Count what a question took in the database, and note it if that was too long."""
        self.database.measures.of(self._table, path).add(seconds)
        slow = self.database.slow
        if seconds >= slow.seconds:
            slow.note(self._table, path, str(shape_of(self.of.contract, question)), seconds, Sent(sql, tuple(given)))

    def _statement(self, form: Form, question: Question, last: Mapping[str, Any] | None) -> Compiled:
        """The statement of a page; the NULLs of the row before decide in which ranges a page begins."""
        nulls = () if last is None else tuple(value is None for value in last.values())
        made = form.pages.get(nulls)
        if made is None:
            written = page_as_json(Asked(self.of, question, form.choice), form.columns, form.limit, last)
            made = form.pages[nulls] = compiled(_some(written), self._dialect)
        return made

    def _is_narrowed(self) -> bool:
        """Whether paths are withdrawn, so that others have to be chosen."""
        catalogue = self.database.catalogue
        return bool(catalogue.withdrawn) and catalogue.available(self.of.contract) is not self.of.contract

    def _form(self, parameters: Parameters) -> Form | None:
        seen = shape(parameters, self._deciding)
        if seen is None:
            return None
        found = self._forms.get(seen)
        if found is None and (found := self._made(parameters)):
            kept(self._forms, seen, found)
        return found

    def _made(self, parameters: Parameters) -> Form | None:
        """The form of a question that can be answered here.

        Raises:
            InvalidQuestion: a parameter can't be understood.
        """
        asking = ask(self.of, parameters, self._settings, self.showing.members, self.showing.relations)
        found = slots(self.of, parameters)
        if found is None or asking.include or asking.count != "none":
            return None
        choice = choose(self.of.contract, asking.question)
        if choice is None or choice.kind == "search":
            return None
        columns = tuple(asking.fields or self.showing.members)
        return Form(choice, columns, asking.limit, asking.question.sort, found, self._settings.among_most)

    def _fields(self, query: bytes) -> tuple[str, ...] | None:
        """The members that are wanted of a row.

        Raises:
            LookupError: something else is asked for.
        """
        fields, include = ask_members(parameters_of(query), self.showing.members, self.showing.relations)
        if include:
            raise LookupError(query)
        kept(self._members, query, fields)
        return fields

    def _rows(self, fields: tuple[str, ...] | None) -> Coalescing[Any, Row]:
        statement = compiled(_some(rows_as_json(self.of, fields or self.showing.members)), self._dialect)
        common = statement.sql.encode() + view_of(self.showing.shape, fields or self.showing.members)
        kept(self._seeds, fields, blake2b(common, digest_size=SEED_BYTES).digest())
        name = self.of.primary + AMONG
        ready = partial(self.database.catalogue.check, self._table, self._by_key.path.name if self._by_key else "")
        give, path = statement.gives[0], self._by_key.path.name if self._by_key else ""
        one = Question({self.of.primary: None})

        def took(seconds: float, given: Sequence[Any]) -> None:
            self.database.measures.batches.add(len(given[0]))
            self._took(one, path, statement.sql, seconds, given)

        async def asked(keys: Callable[[], Sequence[Any]]) -> dict[Any, Row]:
            found = await self.database.fetch(statement.sql, lambda: statement.arguments({name: keys()}), ready, took)
            return {give(key) if give else key: (row, Version(*version)) for key, row, *version in found}

        made: Coalescing[Any, Row] = Coalescing(asked)
        kept(self.rows, fields, made)
        return made


def lacking(of: Surface, showing: Showing) -> str | None:
    """Why PostgreSQL can't write what a table shows."""
    if not showing.plain:
        return f"{showing.shape.__name__} is worked out in Python: it has a validator, a computed member, or one that is no column"
    wrong = next((name for name in showing.members if rendered(of.expressions[name]) is None), None)
    return None if wrong is None else f"{of.contract.table}.{wrong} is of a type that PostgreSQL doesn't write as answers show it"


def opened(signer: Signer, of: Surface, choice: Choice, bound: bytes, cursor: str) -> dict[str, Any]:
    """The row that a page follows.

    Raises:
        InvalidCursor: the cursor is damaged, expired or another question's, or the question has one page.
    """
    if choice.kind not in {"list", "search"}:
        raise InvalidCursor("This question has one page. Leave out cursor=.")
    found = signer.open(bound, cursor, time.time())
    try:
        return {sort.name: of.loaded(sort.name, value) for sort, value in zip(choice.order, found, strict=True)}
    except ValueError:  # the service signed it: a column had another type then
        raise InvalidCursor("The cursor is from before the table was changed. Begin again without cursor=.") from None


def sealed(signer: Signer, of: Surface, choice: Choice, bound: bytes, last: Sequence[Any]) -> str:
    """The cursor of the page after a row."""
    written = [of.dumped(sort.name, value) for sort, value in zip(choice.order, last, strict=True)]
    period = signer.seconds // CURSOR_PERIODS
    return signer.seal(bound, written, time.time() // period * period)


def link(path: str, query: bytes, cursor: str) -> dict[str, str]:
    """The Link header that leads to the next page: what was asked, as the client has spelled it, with another cursor.

    Args:
        path: of the URL.
        query: what stands behind it.
        cursor: of the next page; no character of it has to be escaped.
    """
    others = [part for part in query.decode("ascii").split("&") if part and unquote(part.partition("=")[0]) != CURSOR]
    return {"Link": f'<{path}?{"&".join([*others, f"{CURSOR}={cursor}"])}>; rel="next"'}


def told(held: Held, how: str) -> Mapping[str, str]:
    """The headers that say whether an answer was kept, and for how long."""
    return {"X-Cache": how, "Age": str(held.age)} if how == HIT else NOT_KEPT[how]


def kept(held: dict[Any, Any], key: Any, value: Any) -> None:
    """Remember something; where there is much already, the oldest makes room."""
    if len(held) >= FORMS_MOST:
        del held[next(iter(held))]
    held[key] = value


def _some(statement: Any) -> Any:
    if statement is None:
        raise LookupError("a column without a renderer: the table should not have come here")
    return statement
