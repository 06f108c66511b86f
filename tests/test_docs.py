"""What the docs show is so: commands are run, outputs compared, links followed, lists held against the code."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from typer.main import get_command

from service import schema
from service.cli import app as commands
from service.db import answers, faults, searching
from service.db.judging import Withdrawn
from service.errors import Internal, Problem
from service.http import costs, door, exporting, idempotency, jobs, layers, limits, problems
from service.http.room import LEAST_BYTES_PER_SECOND
from service.settings import Section, Settings, load, section, variable
from tests.docs.newcomer import Newcomer, newcomer
from tests.docs.pages import ROOT, anchors, bodies, links, prints, steps

pytestmark = pytest.mark.xdist_group("docs")

DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
SERVED = sorted(
    [
        DOCS / "guides" / "exporting.md",
        DOCS / "guides" / "indexes.md",
        DOCS / "guides" / "keys.md",
        DOCS / "guides" / "lending.md",
        DOCS / "guides" / "limits.md",
        DOCS / "guides" / "paging.md",
        DOCS / "guides" / "searching.md",
        *(DOCS / "problems").glob("*.md"),
    ]
)
PROBLEMS = sorted((kind for kind in Problem.__subclasses__() if kind.__module__ == Problem.__module__), key=lambda kind: kind.slug)
SECTIONS: tuple[type[Section], ...] = (Settings, *schema.sections())
SETTINGS = [(kind, name, field) for kind in SECTIONS for name, field in kind.model_fields.items()]
SUBCOMMANDS: dict[str, Any] = dict(get_command(commands).commands)  # type: ignore[attr-defined]


@pytest.fixture
def someone() -> Iterator[Newcomer]:
    """A newcomer with a fresh copy of the project."""
    with newcomer() as made:
        yield made


def test_readme_then_guides_and_problems(someone: Newcomer) -> None:
    someone.follow(steps(ROOT / "README.md"))
    for page in SERVED:
        if found := steps(page):
            someone.follow(found)


def test_tutorial(someone: Newcomer) -> None:
    before = someone.files()
    someone.follow(steps(DOCS / "tutorial.md"))
    after = someone.files()
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    migrations = {
        name for name in changed if re.fullmatch(r"alembic/versions/[\d-]+_publishers(_by_founding)?_[0-9a-f]{12}\.py", name)
    }
    assert len(migrations) == 2
    assert changed - migrations == {
        "service/tables/publishers.py",
        "tests/factories/publishers.py",
        "tests/tables/test_publishers.py",
        "contract.json",
    }


def test_your_own_tables(someone: Newcomer) -> None:
    someone.follow(steps(DOCS / "guides" / "your-own-tables.md"))
    assert "book" not in "".join(path.read_text().lower() for path in (someone.folder / "service" / "tables").glob("*.py"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    inside = [address for address in links(page) if not re.match(r"\w+:", address)]
    assert [address for address in inside if not _exists(page, address)] == []


def test_every_page_is_reached_from_the_index() -> None:
    seen: set[Path] = set()
    new = {ROOT / "README.md"}
    while new:
        page = new.pop()
        seen.add(page)
        found = {(page.parent / address.partition("#")[0]).resolve() for address in links(page) if ".md" in address}
        new |= {one for one in found if one.exists()} - seen
    assert [str(page.relative_to(ROOT)) for page in PAGES if page not in seen] == []


def test_problems_and_pages_are_the_same() -> None:
    pages = {page.stem for page in (DOCS / "problems").glob("*.md")}
    assert pages == {kind.slug for kind in PROBLEMS}


@pytest.mark.parametrize("kind", PROBLEMS, ids=lambda kind: kind.slug)
def test_a_problems_page_shows_its_body(kind: type[Problem]) -> None:
    page = DOCS / "problems" / f"{kind.slug}.md"
    shown = bodies(page)
    assert shown
    for body in shown:
        assert (body["type"], body["title"], body["status"]) == (f"/problems/{kind.slug}", kind.title, kind.status)
        assert {"detail", "instance"} <= body.keys()
    assert all(
        heading in page.read_text() for heading in ("## What it means", "## What the client does", "## What the operator does")
    )


def test_what_no_request_brings_about_is_shown_in_the_services_own_words() -> None:
    pages = {kind.slug: DOCS / "problems" / f"{kind.slug}.md" for kind in PROBLEMS if kind is not Internal}
    assert {slug: bodies(page)[0]["detail"] for slug, page in pages.items() if not steps(page)} == {
        "idempotency-key-reused": idempotency.REUSED,
        "index-not-ready": Withdrawn("books", "ix_books_by_author", "missing").detail,
        "job-ended": jobs.ENDED.format(id=7, became=jobs.BECAME["done"]),
        "overloaded": faults.BUSY,
        "slow-body": door.SLOW.format(seconds=Settings.model_fields["body_seconds"].default, pace=LEAST_BYTES_PER_SECOND // 1024),
        "still-running": answers.RUNNING,
        "storage-full": faults.FULL,
        "timed-out": faults.SLOW,
        "too-many-requests": limits.refusal(_limit_of_keys(), costs.LIST, 1).detail,
        "too-many-matches": searching.TOO_MANY.format(most=1000),
        "too-many-rows": exporting.TOO_MANY.format(most=Settings.model_fields["stream_most"].default, path="/v1/books"),
        "unavailable": faults.AWAY,
    }


def _limit_of_keys() -> limits.Limit:
    fields = Settings.model_fields
    return limits.Limit("key", fields["key_requests_per_second"].default, fields["key_requests_burst"].default, ahead=1)


async def test_a_mistake_of_the_service_is_shown_as_it_comes() -> None:
    app = FastAPI()
    problems.install(app)
    app.add_middleware(layers.Answering)

    @app.get("/")
    async def mistaken() -> None:
        raise ZeroDivisionError

    async with AsyncClient(transport=ASGITransport(app, raise_app_exceptions=False), base_url="http://test") as client:
        answer = await client.get("/")
    (shown,) = bodies(DOCS / "problems" / "internal.md")
    assert prints(json.dumps(shown), answer.text)


def test_settings_page_lists_the_settings() -> None:
    shown = re.findall(r"^\| `[A-Z].*", (DOCS / "reference" / "settings.md").read_text(), flags=re.MULTILINE)
    assert shown == [_row(kind, name, field) for kind, name, field in SETTINGS]


def test_env_example_lists_the_settings() -> None:
    blocks = (ROOT / ".env.example").read_text().strip().split("\n\n")[1:]
    assert blocks == [f"# {field.description}\n# {variable(name, kind)}={_default(field)}" for kind, name, field in SETTINGS]


def test_env_example_can_be_used(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(re.sub(r"^# (?=[A-Z_]+=)", "", (ROOT / ".env.example").read_text(), flags=re.MULTILINE))
    assert load(_env_file=file) == load(_env_file=None)
    for kind in schema.sections():
        assert section(kind, _env_file=file) == kind.model_construct()


def test_every_command_and_option_is_in_the_reference() -> None:
    sections = re.split(r"^## ", (DOCS / "reference" / "commands.md").read_text(), flags=re.MULTILINE)[1:]
    told = {section.split("\n")[0].strip("` ").split()[1]: section for section in sections if section.startswith("`shelfmark ")}
    assert told.keys() == SUBCOMMANDS.keys()
    below = {f"{name} {part}": one for name, group in SUBCOMMANDS.items() for part, one in getattr(group, "commands", {}).items()}
    assert [name for name in below if f"`shelfmark {name}" not in told[name.split()[0]]] == []
    for name, command in {**SUBCOMMANDS, **below}.items():
        options = [option for parameter in command.params for option in parameter.opts if option.startswith("--")]
        assert [option for option in options if option != "--help" and f"`{option}" not in told[name.split()[0]]] == [], name


def test_an_output_that_is_not_shown_is_noticed() -> None:
    shown = json.dumps({"data": [{"id": 1, "title": "It"}, "..."], "next": "abc"}, indent=2)
    assert prints(shown, '{"data":[{"id":1,"title":"It"},{"id":2}],"next":"xyz"}')
    for other in (
        '{"data":[{"id":2,"title":"It"}],"next":"xyz"}',
        '{"data":[{"id":1,"title":"It","more":0}],"next":"xyz"}',
        '{"data":[],"next":"xyz"}',
        '{"data":[{"id":1,"title":"It"}],"next":null}',
    ):
        assert not prints(shown, other)
    assert prints("2 passed in ...", "2 passed in 0.31s")
    assert not prints("2 passed in ...", "1 failed, 2 passed in 0.31s")


def _exists(page: Path, address: str) -> bool:
    """Whether a link leads to a file, and to a heading if it names one."""
    name, _, anchor = address.partition("#")
    target = page.parent / name if name else page
    return target.exists() and (not anchor or anchor in anchors(target))


def _row(kind: type[Section], name: str, field: FieldInfo) -> str:
    """A setting as its row in the reference."""
    default = f"`{_default(field)}`" if _default(field) else "unset"
    return f"| `{variable(name, kind)}` | {default} | {_range(field) or '&nbsp;'} | {field.description} |"


def _default(field: FieldInfo) -> str:
    default = field.get_default()
    if default is None or isinstance(default, SecretStr | tuple):
        return ""
    return str(default)


def _range(field: FieldInfo) -> str:
    """What a setting may be: one of some words, or a number within limits."""
    if get_origin(field.annotation) is Literal:
        return ", ".join(get_args(field.annotation))
    least = next((f"{limit.ge:g}" for limit in field.metadata if hasattr(limit, "ge")), None)
    above = next((f"{limit.gt:g}" for limit in field.metadata if hasattr(limit, "gt")), None)
    most = next((f"{limit.le:.0f}" for limit in field.metadata if hasattr(limit, "le")), None)
    lower = f"above {above}" if above else f"from {least}" if least else ""
    return f"{lower} to {most}" if most else lower
