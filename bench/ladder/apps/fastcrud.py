"""FastCRUD, with its own router over the ORM's mapping, as its documentation sets it up."""

from importlib import import_module

from fastapi import FastAPI

from bench.ladder.apps.mapped import Item, ItemIn, ItemOut, sessions


def app() -> FastAPI:
    """The application of one process."""
    made = FastAPI()
    router = import_module("fastcrud").crud_router(
        session=sessions(),
        model=Item,
        create_schema=ItemIn,
        update_schema=ItemIn,
        select_schema=ItemOut,  # else it answers a new row by null
        path="/items",
        tags=["items"],
        filter_config={"category": None},
    )
    made.include_router(router)
    return made
