"""UUIDs, whether Python has them as such or as text, name rows and lists of them."""

import uuid
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import Index, MetaData, Uuid
from sqlalchemy.orm import Mapped, mapped_column

from service.contract.cursor import Signer
from service.db import Model, Repository
from service.db.bound import Bound
from service.http import Schema, problems, serve
from service.http.serve import Routes
from service.http.uses import Service
from service.settings import Settings
from tests.fixtures.application import client_of, knowing
from tests.http.conftest import refused


class Apart(Model):
    """Tables of this file alone."""

    __abstract__ = True
    metadata = MetaData()


class Tag(Apart):
    """A row with UUIDs."""

    __tablename__ = "tags"
    key: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    owner: Mapped[uuid.UUID] = mapped_column()
    by_owner = Index("ix_tags_owner", owner, key)


class Label(Apart):
    """A row with UUIDs as text."""

    __tablename__ = "labels"
    key: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    owner: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    by_owner = Index("ix_labels_owner", owner, key)


class Named(Schema):
    """As clients see it."""

    key: uuid.UUID
    owner: uuid.UUID


class Written(Schema):
    """The same, as text."""

    key: str
    owner: str


class Tags(Repository[Tag]):
    """Those with UUIDs."""


class Labels(Repository[Label]):
    """Those with text."""


def routes() -> list[Routes]:
    """One table of each."""
    return [serve(Tags, at="/tags", read=Named, write=Named), serve(Labels, at="/labels", read=Written, write=Written)]


@pytest.mark.parametrize("table", ["tags", "labels"])
async def test_they_are_found(settings: Settings, database: Bound, table: str) -> None:
    async with database.writing() as unit:
        await (await unit.session.connection()).run_sync(Apart.metadata.create_all)
    app = FastAPI()
    app.state.service = Service(settings, database, Signer(settings.signing(), settings.cursor_seconds), None, None)
    problems.install(app)
    for router in routes():
        router.settle()
        app.include_router(router, prefix="/v1")
    rows: list[dict[str, Any]] = [{"key": str(uuid.uuid4()), "owner": str(uuid.uuid4())} for _ in range(2)]
    async with client_of(knowing(app, settings, database)) as client:
        for row in rows:
            assert (await client.post(f"/v1/{table}", json=row)).status_code == 201
        for key, owner in ((rows[0]["key"], rows[0]["owner"]), (rows[0]["key"].upper(), rows[0]["owner"].upper())):
            assert (await client.get(f"/v1/{table}/{key}")).json() == rows[0]
            assert (await client.get(f"/v1/{table}/{key}?fields=owner")).json() == {"owner": rows[0]["owner"]}
            for question in (f"key__in={key}", f"owner={owner}"):
                found = await client.get(f"/v1/{table}?{question}")
                assert found.status_code == 200, found.text
                assert found.json()["data"] == [rows[0]]
        gone = str(uuid.uuid4())
        problem = refused(await client.get(f"/v1/{table}/{gone}"), 404, "not-found")
        assert problem["detail"] == f"There is no '{gone}' in {table}. It may have been deleted."
        refused(await client.get(f"/v1/{table}?owner=1"), 422, "invalid-question")
