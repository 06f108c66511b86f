"""FastAPI, the async ORM, and a response model: what the tutorials of both have one write."""

from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from bench.ladder.apps.mapped import Item, ItemIn, ItemOut, sessions


def app() -> FastAPI:
    """The application of one process."""
    made = FastAPI()
    session = sessions()

    @made.get("/items/{item_id}", response_model=ItemOut)
    async def get_item(item_id: int, db: Annotated[AsyncSession, Depends(session)]) -> Any:
        item = await db.get(Item, item_id)
        if item is None:
            raise HTTPException(404)
        return item

    @made.get("/items", response_model=list[ItemOut])
    async def list_items(
        db: Annotated[AsyncSession, Depends(session)], category: int | None = None, limit: int = 50, offset: int = 0
    ) -> Any:
        asked = select(Item).order_by(Item.id).limit(limit).offset(offset)
        if category is not None:
            asked = asked.where(Item.category == category)
        return (await db.scalars(asked)).all()

    @made.post("/items", response_model=ItemOut, status_code=201)
    async def create_item(body: ItemIn, db: Annotated[AsyncSession, Depends(session)]) -> Any:
        item = Item(**body.model_dump())
        db.add(item)
        await db.commit()
        return item

    return made
