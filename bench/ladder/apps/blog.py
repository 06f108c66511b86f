"""FastAPI over asyncpg, written by hand as the blog post has it: a pool, an index, SQL in the routes. And its rungs without them.

The post's routes say nothing of what they return, so FastAPI turns it into JSON piece by piece, in Python. `typed` is the same with
that said: pydantic then writes the JSON, which more than halves the work of a list.
`attrs` is answered as asyncpg gives jsonb, as text: a codec would make this slower.
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from bench.ladder.data import COLUMNS, INSERT, ITEMS, UNINDEXED, plain

Taken = AbstractAsyncContextManager[Any]


class Item(BaseModel):
    """What a client sends."""

    category: int
    name: str
    price: float
    attrs: dict[str, Any] = {}


def app() -> FastAPI:
    """The example: pool and index."""
    return _app(ITEMS, pooled=True)


def typed() -> FastAPI:
    """The example, with return types."""
    return _app(ITEMS, pooled=True, returns=Any)


def without_pool() -> FastAPI:
    """A connection for each request."""
    return _app(ITEMS, pooled=False)


def without_index() -> FastAPI:
    """The same rows in a table that has no index."""
    return _app(UNINDEXED, pooled=True)


def _app(table: str, *, pooled: bool, returns: Any = None) -> FastAPI:
    url = plain(os.environ["DATABASE_URL"])
    pool: Any = None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        nonlocal pool
        pool = await asyncpg.create_pool(url) if pooled else None
        yield
        if pool:
            await pool.close()

    @asynccontextmanager
    async def alone() -> AsyncIterator[Any]:
        connection = await asyncpg.connect(url)
        try:
            yield connection
        finally:
            await connection.close()

    def acquire() -> Taken:
        return pool.acquire() if pooled else alone()

    made = FastAPI(lifespan=lifespan)
    _routes(made, table, acquire, returns)
    return made


def _routes(made: FastAPI, table: str, acquire: Any, returns: Any) -> None:
    @made.get("/items/{item_id}", response_model=returns)
    async def get_item(item_id: int) -> Any:
        async with acquire() as connection:
            row = await connection.fetchrow(f"SELECT {COLUMNS} FROM {table} WHERE id = $1", item_id)
        if row is None:
            raise HTTPException(404)
        return dict(row)

    @made.get("/items", response_model=returns)
    async def list_items(category: int | None = None, limit: int = 50, offset: int = 0) -> Any:
        where = "" if category is None else "WHERE category = $3"
        values = () if category is None else (category,)
        sql = f"SELECT {COLUMNS} FROM {table} {where} ORDER BY id LIMIT $1 OFFSET $2"
        async with acquire() as connection:
            rows = await connection.fetch(sql, limit, offset, *values)
        return [dict(row) for row in rows]

    @made.post("/items", status_code=201, response_model=returns)
    async def create_item(item: Item) -> Any:
        async with acquire() as connection:
            row = await connection.fetchrow(INSERT, item.category, item.name, item.price, json.dumps(item.attrs))
        return dict(row)
