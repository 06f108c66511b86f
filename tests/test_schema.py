"""Tables are found, each once, with what their files declare."""

import sys
from pathlib import Path

import pytest

from service import schema, tables
from service.db import Model
from service.errors import SetupError
from service.http.confining import DECLARED
from service.http.serve import Routes, serve

FILES = sorted(path.stem for path in Path(tables.__path__[0]).iterdir() if path.stem.strip("_") == path.stem)


def test_each_file_is_imported_once() -> None:
    """In the order of the names; a second call gives the same modules."""
    found = schema.modules()
    assert [module.__name__ for module in found] == [f"service.tables.{name}" for name in FILES]
    assert schema.modules() == found


def test_each_table_is_in_the_metadata() -> None:
    """Every model of a table file, under its own name, and nothing that a test declares elsewhere."""
    declared = {
        value
        for module in schema.modules()
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Model) and value.__module__ == module.__name__
    }
    assert declared
    assert set(schema.models()) == declared
    assert [model.__tablename__ for model in schema.models()] == sorted(model.__tablename__ for model in declared)
    own = {table.name for table in schema.OWN}
    assert set(schema.metadata().tables) == {model.__tablename__ for model in declared} | own
    assert all(name.startswith("shelfmark_") for name in own)


def test_each_table_that_is_served() -> None:
    """One set of routes for each, all for tables that exist."""
    served = [router.table.of for router in schema.routers()]
    assert all(isinstance(router, Routes) for router in schema.routers())
    names = [of.contract.table for of in served]
    assert len(set(names)) == len(names)
    assert set(names) <= set(schema.metadata().tables)


def test_a_table_that_is_served_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shown of it, kept of it and confined in it is known by its name; one router under two names is one."""
    before, last = schema.routers(), schema.modules()[-1]
    first, table = before[0].prefix, before[0].table
    monkeypatch.setattr(last, "same", before[0], raising=False)
    assert schema.routers() == before
    monkeypatch.setitem(DECLARED, table.repository.model, table.confining)  # what it was, brought back in the end
    monkeypatch.setattr(last, "again", serve(table.repository, at="/again", read=table.showing.shape), raising=False)
    with pytest.raises(SetupError, match=f"{table.of.contract.table} is served twice, at {first} and at /again"):
        schema.routers()


def test_samples_are_for_tables() -> None:
    """A sample is kept under the name of the table that it fills."""
    assert set(schema.samples()) <= set(schema.metadata().tables)


def test_another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any package of table files can be collected, a table that is a package included."""
    package = tmp_path / "shelves_of_a_test"
    (package / "second").mkdir(parents=True)
    for file in (package / "__init__.py", package / "first.py", package / "second" / "__init__.py", package / "second" / "part.py"):
        file.write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    import importlib

    found = schema.modules(importlib.import_module("shelves_of_a_test"))
    assert [module.__name__ for module in found] == ["shelves_of_a_test.first", "shelves_of_a_test.second"]
    for name in [name for name in sys.modules if name.startswith("shelves_of_a_test")]:
        monkeypatch.delitem(sys.modules, name)
