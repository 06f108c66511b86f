"""Keys that are confined to rows: others' rows are not there, however one asks for them."""

# ruff: noqa: A003 - a table's key is called id

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from sqlalchemy import ForeignKey, Identity, Index, MetaData
from sqlalchemy.orm import Mapped, mapped_column, relationship

from service.contract.cursor import Signer
from service.contract.question import Question
from service.db import Database, Model, Repository
from service.db.bound import Bound
from service.db.model import NAMES
from service.errors import Forbidden, NotFound, SetupError
from service.http import Schema, by_database, problems, serve
from service.http.callers import NOBODY, Caller
from service.http.confining import Confining, Rows
from service.http.uses import Service
from service.settings import Settings
from service.tables.loans import Loan
from service.tables.members import Member
from tests.factories.books import BookFactory
from tests.factories.copies import CopyFactory
from tests.factories.holds import HoldFactory
from tests.factories.loans import LoanFactory
from tests.factories.members import MemberFactory
from tests.fixtures.application import client_of, knowing
from tests.fixtures.keys import bearer, granted
from tests.fixtures.statements import Queries, ServedBy
from tests.http.conftest import refused, walked


class Apart(Model):
    """What these tests map without the service hearing of it."""

    __abstract__ = True

    metadata = MetaData(naming_convention=NAMES)


class Folder(Apart):
    """A table whose rows belong to tenants, of which clients hear nothing."""

    __tablename__ = "folders"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    tenant: Mapped[str] = mapped_column()
    title: Mapped[str] = mapped_column()

    of_tenant = Index("ix_folders_of_tenant", tenant, title, id)
    default_order = (title, id)


class Note(Apart):
    """A table of the same tenants, whose rows refer to folders of any."""

    __tablename__ = "notes"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    tenant: Mapped[str] = mapped_column()
    folder_id: Mapped[int] = mapped_column(ForeignKey("folders.id"))
    text: Mapped[str] = mapped_column()
    folder: Mapped[Folder] = relationship(lazy="raise")

    of_tenant = Index("ix_notes_of_tenant", tenant, id)
    of_folder = Index("ix_notes_of_folder", folder_id, id)


class FolderWrite(Schema):
    """What a client sends."""

    title: str


class FolderRead(FolderWrite):
    """What a client gets back."""

    id: int


class NoteWrite(Schema):
    """What a client sends."""

    folder_id: int
    text: str
    tenant: str = by_database()


class NoteRead(NoteWrite):
    """What a client gets back."""

    id: int


class Folders(Repository[Folder]):
    """Queries of folders."""


class Notes(Repository[Note]):
    """Queries of notes."""


@pytest.fixture
async def tenants(settings: Settings, database: Bound) -> AsyncIterator[AsyncClient]:
    """A client of a service whose tables belong to tenants."""
    async with database.writing() as unit:
        await (await unit.session.connection()).run_sync(Apart.metadata.create_all)
    app = FastAPI()
    app.state.service = Service(settings, database, Signer(settings.signing(), settings.cursor_seconds))
    problems.install(app)
    app.include_router(serve(Folders, at="/folders", read=FolderRead, write=FolderWrite, within="tenant"), prefix="/v1")
    notes = serve(Notes, at="/notes", read=NoteRead, write=NoteWrite, include={"folder": FolderRead}, within="tenant")
    notes.settle()
    app.include_router(notes, prefix="/v1")
    async with client_of(knowing(app, settings, database)) as made:
        yield made


async def key_of(database: Database, member: int, *scopes: str) -> dict[str, str]:
    """The header of a key that is confined to a member."""
    return bearer(await granted(database, *(scopes or ("admin",)), within={"member_id": str(member)}))


@pytest.fixture
async def lent(database: Bound) -> dict[str, Any]:
    """Two members with loans and holds of their own."""
    ann, ben = await MemberFactory.create(name="Ann"), await MemberFactory.create(name="Ben")
    loans = {who: await LoanFactory.create_batch(5, member=who) for who in (ann, ben)}
    holds = {who: await HoldFactory.create_batch(2, member=who) for who in (ann, ben)}
    return {"ann": ann, "ben": ben, "loans": loans, "holds": holds}


def ids(rows: Any) -> set[int]:
    """The keys of rows."""
    return {row.id if hasattr(row, "id") else row["id"] for row in rows}


async def test_lists_hold_ones_own_rows(client: AsyncClient, database: Bound, lent: dict[str, Any]) -> None:
    """Asked for or not; an unconfined key sees those of all."""
    ann = lent["ann"]
    client.headers.update(await key_of(database, ann.id, "*:read"))
    for path, rows in (("/v1/loans", lent["loans"][ann]), ("/v1/holds", lent["holds"][ann]), ("/v1/members", [ann])):
        for query in ("", f"?{'id' if path == '/v1/members' else 'member_id'}={ann.id}"):
            assert ids(await walked(client, path + query, limit=2)) == ids(rows), path + query
    assert ids(await walked(client, "/v1/loans?returned_at=null")) == ids(lent["loans"][ann])


async def test_a_list_rides_the_index_that_leads_with_them(
    client: AsyncClient, database: Bound, lent: dict[str, Any], served_by: ServedBy
) -> None:
    client.headers.update(await key_of(database, lent["ann"].id))
    async with served_by("ix_loans_of_member"):
        assert (await client.get("/v1/loans")).status_code == 200
    async with served_by("ix_loans_open_of_member"):
        assert (await client.get("/v1/loans?returned_at=null&sort=borrowed_at")).status_code == 200


async def test_counts_count_ones_own_rows(client: AsyncClient, database: Bound, lent: dict[str, Any]) -> None:
    client.headers.update(await key_of(database, lent["ann"].id))
    answer = await client.get("/v1/loans?count=capped&limit=1")
    assert answer.json()["count"] == {"value": 5, "exact": True}
    assert (await client.get("/v1/loans?count=estimated&limit=1")).status_code == 200


async def test_asking_for_others_is_refused(client: AsyncClient, database: Bound, lent: dict[str, Any], queries: Queries) -> None:
    ann, ben = lent["ann"], lent["ben"]
    client.headers.update(await key_of(database, ann.id))
    queries.clear()
    for query in (f"member_id={ben.id}", "member_id=null", f"member_id={ben.id}&returned_at=null"):
        problem = refused(await client.get(f"/v1/loans?{query}"), 403, "forbidden")
        assert problem["within"] == {"member_id": str(ann.id)}
    for query in (f"member_id__gte={ben.id}", f"id={ids(lent['loans'][ben]).pop()}", "copy_id=1", "id__in=1,2", "sort=-member_id"):
        assert "member_id=" in refused(await client.get(f"/v1/loans?{query}"), 400, "not-served")["asked"].split(" & ")
    refused(await client.get(f"/v1/members?id__in={ann.id},{ben.id}"), 400, "not-served")
    refused(await client.get("/v1/members?name__icontains=ben"), 400, "not-served")
    assert len(queries) == 0


async def test_a_refusal_proposes_what_such_a_key_can_ask(client: AsyncClient, database: Bound) -> None:
    member = await MemberFactory.create()
    client.headers.update(await key_of(database, member.id))
    problem = refused(await client.get("/v1/loans?copy_id=1"), 400, "not-served")
    assert all("member_id=" in offer.split(" & ") for offer in problem["served"])
    assert problem["nearest"] == "leave out copy_id="
    assert problem["index"] == (
        'Index("ix_loans_copy_id_member_id_borrowed_at", copy_id, member_id, borrowed_at.desc(), id.desc())'
    )


async def test_anothers_row_is_as_missing_as_one_that_never_was(client: AsyncClient, database: Bound, lent: dict[str, Any]) -> None:
    ann, ben = lent["ann"], lent["ben"]
    client.headers.update(await key_of(database, ann.id))
    asked = [
        ("GET", "loans/{}", None, lent["loans"]),
        ("GET", "loans/{}?fields=id", None, lent["loans"]),
        ("POST", "loans/{}:return", None, lent["loans"]),
        ("POST", "loans/{}:renew", None, lent["loans"]),
        ("GET", "holds/{}", None, lent["holds"]),
        ("DELETE", "holds/{}", None, lent["holds"]),
        ("GET", "members/{}", None, {ben: [ben]}),
        ("PATCH", "members/{}", {"name": "Benjamin"}, {ben: [ben]}),
        ("PATCH", "members/{}", {}, {ben: [ben]}),
        ("DELETE", "members/{}", None, {ben: [ben]}),
    ]
    for method, path, body, rows in asked:
        told = []
        for key in (rows[ben][0].id, 10**9):
            answer = await client.request(method, "/v1/" + path.format(key), json=body, headers={"If-Match": "*"})
            problem = refused(answer, 404, "not-found")
            told.append(problem["detail"].replace(str(key), "it"))
        assert told[0] == told[1], f"{method} {path}"
    assert (await name_of(database, ben.id)) == "Ben"


async def name_of(database: Bound, key: int) -> str:
    """A member's name, as it is stored."""
    async with database.reading() as session:
        found = await session.get(Member, key, populate_existing=True)
    assert found
    return found.name


async def test_ones_own_rows_can_be_changed(client: AsyncClient, database: Bound, lent: dict[str, Any]) -> None:
    ann = lent["ann"]
    client.headers.update(await key_of(database, ann.id))
    assert (await client.patch(f"/v1/members/{ann.id}", json={"name": "Anna"})).status_code == 204
    assert (await client.get(f"/v1/members/{ann.id}")).json()["name"] == "Anna"
    loan = f"/v1/loans/{lent['loans'][ann][0].id}"
    meant = {"If-Match": (await client.get(loan)).headers["etag"]}
    assert (await client.post(f"{loan}:renew", headers=meant)).status_code == 200
    assert (await client.post(f"/v1/loans/{lent['loans'][ann][0].id}:return")).status_code == 200
    assert (await client.delete(f"/v1/holds/{lent['holds'][ann][0].id}")).status_code == 204


async def test_a_key_to_one_row_makes_no_others(client: AsyncClient, database: Bound) -> None:
    member = await MemberFactory.create()
    client.headers.update(await key_of(database, member.id))
    for path, body in (("", {"email": "a@b", "name": "a"}), (":batch", {"data": [{"email": "a@b", "name": "a"}]})):
        assert "single row" in refused(await client.post(f"/v1/members{path}", json=body), 403, "forbidden")["detail"]


async def test_lending_is_for_oneself(client: AsyncClient, database: Bound, lent: dict[str, Any]) -> None:
    ann, ben = lent["ann"], lent["ben"]
    copy, book = await CopyFactory.create(), await BookFactory.create()
    client.headers.update(await key_of(database, ann.id))
    for path, body in (("loans", {"book_id": copy.book_id}), ("holds", {"book_id": book.id})):
        for who in (ben.id, 10**9):
            refused(await client.post(f"/v1/{path}", json={"member_id": who, **body}), 403, "forbidden")
        made = await client.post(f"/v1/{path}", json={"member_id": ann.id, **body})
        assert (made.status_code, made.json()["member_id"]) == (201, ann.id)


async def test_a_return_doesnt_tell_who_is_next(client: AsyncClient, database: Bound) -> None:
    """The hold whose turn it is belongs to somebody else."""
    ann, ben, copy = await MemberFactory.create(), await MemberFactory.create(), await CopyFactory.create()
    loan = (await client.post("/v1/loans", json={"member_id": ann.id, "book_id": copy.book_id})).json()["id"]
    assert (await client.post("/v1/holds", json={"member_id": ben.id, "book_id": copy.book_id})).json()["status"] == "waiting"
    answer = await client.post(f"/v1/loans/{loan}:return", headers=await key_of(database, ann.id))
    assert answer.json()["hold"] is None
    assert (await client.get(f"/v1/holds?member_id={ben.id}")).json()["data"][0]["status"] == "ready"


async def test_tables_that_dont_know_the_column_are_closed(client: AsyncClient, database: Bound) -> None:
    member, book = await MemberFactory.create(), await BookFactory.create()
    client.headers.update(await key_of(database, member.id))
    for path in ("books", f"books/{book.id}", f"books/{book.id}/beside", f"books/{book.id}/availability", "copies", "events"):
        refused(await client.get(f"/v1/{path}"), 403, "forbidden")
    refused(await client.patch(f"/v1/books/{book.id}", json={"title": "x"}), 403, "forbidden")
    assert (await client.get("/v1/books:contract")).status_code == 200


async def test_include_shows_what_the_key_may_read(client: AsyncClient, database: Bound, lent: dict[str, Any]) -> None:
    ann = lent["ann"]
    loan = lent["loans"][ann][0].id
    client.headers.update(await key_of(database, ann.id))
    for path in ("/v1/loans", f"/v1/loans/{loan}"):
        answer = (await client.get(f"{path}?include=member")).json()
        assert answer.get("data", [answer])[0]["member"]["name"] == "Ann"
        refused(await client.get(f"{path}?include=copy"), 403, "forbidden")
        refused(await client.get(f"{path}?include=member,copy"), 403, "forbidden")


async def test_include_needs_the_others_scope(client: AsyncClient, database: Bound, lent: dict[str, Any]) -> None:
    """Also of a key that is not confined: loans:read alone tells nobody's address."""
    key = bearer(await granted(database, "loans:read"))
    loan = lent["loans"][lent["ann"]][0].id
    for path in (f"/v1/loans?member_id={lent['ann'].id}", f"/v1/loans/{loan}?"):
        problem = refused(await client.get(f"{path}&include=member", headers=key), 403, "forbidden")
        assert problem["scope"] == "members:read"


async def test_a_cursor_is_bound_to_the_rows_it_leads_through(client: AsyncClient, database: Bound, lent: dict[str, Any]) -> None:
    """Another member's, and one of an unconfined key for the very same question."""
    ann, ben = lent["ann"], lent["ben"]
    keys: dict[str, Mapping[str, str]] = {"ann": await key_of(database, ann.id), "ben": await key_of(database, ben.id), "all": {}}
    asked = {name: f"/v1/loans?limit=2&member_id={(ben if name == 'ben' else ann).id}" for name in keys}
    given = {name: (await client.get(asked[name], headers=keys[name])).json()["next"] for name in keys}
    for whose, cursor in given.items():
        for name, path in asked.items():
            answer = await client.get(f"{path}&cursor={cursor}", headers=keys[name])
            if name == whose:
                assert answer.status_code == 200
            else:
                refused(answer, 422, "invalid-cursor")
    again = await key_of(database, ann.id)
    assert (await client.get(f"{asked['ann']}&cursor={given['ann']}", headers=again)).status_code == 200


async def test_a_hidden_column_confines(tenants: AsyncClient, database: Bound) -> None:
    """Clients neither name it nor see it; what they write gets it."""
    red, blue = [bearer(await granted(database, "*:read", "*:write", within={"tenant": name})) for name in ("red", "blue")]
    made = (await tenants.post("/v1/folders", json={"title": "Plans"}, headers=red)).json()
    batch = {"data": [{"title": "One"}, {"title": "Two"}]}
    assert (await tenants.post("/v1/folders:batch", json=batch, headers=red)).status_code == 201
    assert made == {"title": "Plans", "id": made["id"]}
    for headers, found in ((red, ["One", "Plans", "Two"]), (blue, [])):
        rows = (await tenants.get("/v1/folders", headers=headers)).json()["data"]
        assert [row["title"] for row in rows] == found
    assert (await tenants.get(f"/v1/folders/{made['id']}", headers=blue)).status_code == 404
    assert (await tenants.get(f"/v1/folders/{made['id']}?fields=title", headers=red)).json() == {"title": "Plans"}
    refused(await tenants.get("/v1/folders?tenant=blue", headers=red), 422, "invalid-question")
    refused(await tenants.patch(f"/v1/folders/{made['id']}", json={"tenant": "blue"}, headers=red), 422, "invalid-body")
    assert (await tenants.patch(f"/v1/folders/{made['id']}", json={"title": "x"}, headers=blue)).status_code == 404
    first = (await tenants.get("/v1/folders?limit=1", headers=red)).json()["next"]
    assert (await tenants.get(f"/v1/folders?limit=1&cursor={first}", headers=red)).json()["data"][0]["title"] == "Plans"
    refused(await tenants.get(f"/v1/folders?limit=1&cursor={first}", headers=blue), 422, "invalid-cursor")


async def test_a_row_that_refers_to_anothers_shows_nothing_of_it(tenants: AsyncClient, database: Bound) -> None:
    red, blue = [bearer(await granted(database, "*:read", "*:write", within={"tenant": name})) for name in ("red", "blue")]
    theirs = (await tenants.post("/v1/folders", json={"title": "Secret"}, headers=blue)).json()["id"]
    own = (await tenants.post("/v1/folders", json={"title": "Own"}, headers=red)).json()["id"]
    for folder in (theirs, own):
        note = (await tenants.post("/v1/notes", json={"folder_id": folder, "text": "x"}, headers=red)).json()["id"]
        seen = (await tenants.get(f"/v1/notes/{note}?include=folder", headers=red)).json()["folder"]
        assert seen == (None if folder == theirs else {"id": own, "title": "Own"})
        assert (await tenants.delete(f"/v1/notes/{note}", headers=blue)).status_code == 404
    listed = (await tenants.get("/v1/notes?include=folder", headers=red)).json()["data"]
    assert [row["folder"] and row["folder"]["title"] for row in listed] == [None, "Own"]
    assert (await tenants.delete(f"/v1/notes/{note}", headers=red)).status_code == 204


async def test_nothing_is_moved_to_others(tenants: AsyncClient, database: Bound) -> None:
    """A column that clients may write: left out it is filled in, another value is refused, in each row of a batch too."""
    red = bearer(await granted(database, "*:read", "*:write", within={"tenant": "red"}))
    folder = (await tenants.post("/v1/folders", json={"title": "Own"}, headers=red)).json()["id"]
    body = {"folder_id": folder, "text": "x"}
    note = (await tenants.post("/v1/notes", json=body, headers=red)).json()
    assert note["tenant"] == "red"
    for value, status in (("red", (201, 204)), ("blue", (403, 403)), ("", (403, 403))):
        made = await tenants.post("/v1/notes", json={**body, "tenant": value}, headers=red)
        changed = await tenants.patch(f"/v1/notes/{note['id']}", json={"tenant": value}, headers=red)
        assert (made.status_code, changed.status_code) == status
    batch = {"data": [body, {**body, "tenant": "blue"}]}
    refused(await tenants.post("/v1/notes:batch", json=batch, headers=red), 403, "forbidden")
    assert {row["tenant"] for row in await walked(tenants, "/v1/notes")} == {"red"}


CONFINING = Confining.by(Loan, "member_id", frozenset({"id", "copy_id", "borrowed_at"}))


def caller(**within: str) -> Caller:
    """The bearer of a confined key."""
    return Caller("aaaaaaaa", frozenset({"admin"}), within)


def test_an_unconfined_caller_may_see_every_row() -> None:
    rows = CONFINING.rows(NOBODY, "GET")
    question = Question({"copy_id": 1})
    assert not rows
    assert rows.question(question) is question
    assert rows.bound(b"question") == b"question"
    assert rows.placed({"copy_id": 1}, "id") == {"copy_id": 1}


@pytest.mark.parametrize(
    "within",
    [{"branch": "Main"}, {"member_id": "7", "branch": "Main"}, {"member_id": "seven"}, {"member_id": ""}, {"member_id": "9" * 30}],
)
def test_what_the_table_cannot_tell_is_refused(within: dict[str, str]) -> None:
    with pytest.raises(Forbidden):
        CONFINING.rows(caller(**within), "GET")


@given(st.dictionaries(st.sampled_from(["id", "copy_id", "member_id"]), st.integers(1, 3) | st.none()))
@effort(suppress_health_check=list(HealthCheck))
def test_whatever_is_asked_the_equality_is_there(equals: dict[str, int | None]) -> None:
    rows = CONFINING.rows(caller(member_id="2"), "GET")
    if equals.get("member_id", 2) != 2:
        with pytest.raises(Forbidden):
            rows.question(Question(equals))
        with pytest.raises(Forbidden):
            rows.placed(dict(equals), "id")
        return
    assert rows.question(Question(equals)).equals == {**equals, "member_id": 2}
    assert rows.placed(dict(equals), "id") == {**equals, "member_id": 2}
    assert rows.hide(type("Row", (), {"member_id": 3}))
    assert not rows.hide(type("Row", (), {"member_id": 2}))


def test_cursors_of_different_rows_are_bound_differently() -> None:
    bound = {Rows(caller(**{name: value}), {name: value}).bound(b"[]") for name in ("a", "b") for value in ("1", "2")}
    assert len(bound) == 4


async def test_a_row_is_held_for_whom_it_is(database: Bound, lent: dict[str, Any]) -> None:
    ann, loan = lent["ann"], lent["loans"][lent["ann"]][0]
    await CONFINING.hold(database, loan.id, CONFINING.rows(caller(member_id=str(ann.id)), "PATCH"))
    with pytest.raises(NotFound):
        await CONFINING.hold(database, loan.id, CONFINING.rows(caller(member_id=str(lent["ben"].id)), "PATCH"))


class Ranked(Apart):
    """A table that comes in an order of which clients shall hear nothing."""

    __tablename__ = "ranked"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    rank: Mapped[int] = mapped_column()

    by_rank = Index("ix_ranked_by_rank", rank, id)
    default_order = (rank, id)


class RankedRead(Schema):
    """What a client gets back: nothing of the rank."""

    id: int


class Ranking(Repository[Ranked]):
    """Queries of ranked rows."""


def test_no_order_by_default_tells_a_hidden_column() -> None:
    """Refusals would name it, and cursors hold its values, which are signed but can be read."""
    with pytest.raises(SetupError, match=r"Ranked\.default_order names rank, which clients don't see"):
        serve(Ranking, at="/ranked", read=RankedRead)


@pytest.mark.parametrize(
    ("model", "within", "told"),
    [
        (Loan, "colour", "has no such column"),
        (Note, "text", "no index of notes leads with it"),
        (Member, {"member": "name"}, "no index of members leads with it"),
    ],
)
def test_a_column_must_lead_somewhere(model: type[Model], within: str | dict[str, str], told: str) -> None:
    with pytest.raises(SetupError, match=told):
        Confining.by(model, within, frozenset({"id", "text", "name"}))
