"""The command `shelfmark`. Each subcommand says what it does in its help; a mistake ends in a sentence and exit code 2."""

import datetime
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from service.cli import indexes, jobs
from service.errors import SetupError, ShelfmarkError

if TYPE_CHECKING:
    from service.jobs.opening import Format

USAGE_ERROR, FAILURE = 2, 1
app = typer.Typer(
    name="shelfmark",
    help="A REST data service in which an index is a question the API answers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


app.add_typer(indexes.app, name="indexes")
app.add_typer(jobs.app, name="jobs")
keys = typer.Typer(name="keys", help="API keys: make, list, replace and revoke them.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(keys)
cache = typer.Typer(
    name="cache", help="What is kept in Redis: look, or have it forgotten.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(cache)
Prefix = Annotated[str, typer.Argument(help="The key's prefix: the part after shelf_.")]


@app.command()
def up(
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port to listen on; the next free one is taken if it is not free.")
    ] = None,
    books: Annotated[
        int | None, typer.Option(min=0, max=1_000_000, help="Invented books to put into an empty database; 0 for none.")
    ] = None,
) -> None:
    """Run everything on this machine: PostgreSQL, Redis, migrations, a small sample, and the web server.

    Nothing needs to be installed. Data are kept in .shelfmark/ and survive; Ctrl-C ends the service and its servers.
    """
    from service.cli.local import run

    run(**_given(port=port, sample_books=books))


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port to listen on.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Processes.")] = None,
) -> None:
    """Run the web server against DATABASE_URL, or against a running `shelfmark up`. Starts no servers, runs no migrations."""
    from service.cli.serving import run

    run(**_given(host=host, port=port, web_concurrency=workers))


@app.command()
def worker(
    slots: Annotated[
        int | None, typer.Option(min=0, max=500, help="Jobs to run at the same time; 0 only hands them out to other workers.")
    ] = None,
    attended: Annotated[
        bool, typer.Option(hidden=True, help="End when standard input does; wait for a database to work on.")
    ] = False,
) -> None:
    """Run jobs: those that are due are handed out, run, and tried again where that helps. Any number of workers may run."""
    from service.cli.working import run

    run(slots, attended=attended)


@app.command()
def migrate(
    revision: Annotated[str, typer.Argument(help="Where to go: a revision, or head.")] = "head",
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done and what it would lock, and do nothing.")
    ] = False,
    back: Annotated[bool, typer.Option("--back", help="Go back to an older revision; what it drops is lost.")] = False,
) -> None:
    """Bring the database to a revision, as `alembic upgrade head` does, and show what each step locks."""
    from service.cli.migrating import run

    run(revision, dry_run=dry_run, back=back)


@app.command("import")
def import_(
    table: Annotated[str, typer.Argument(help="The table, for example books.")],
    file: Annotated[str, typer.Argument(help="CSV or NDJSON, gzip or not; - reads standard input.")],
    *,
    source: Annotated[str | None, typer.Option(help="Where the rows come from; by default the file's name.")] = None,
    form: Annotated[str | None, typer.Option("--format", help="csv or ndjson, where the file's name doesn't tell.")] = None,
    rejects: Annotated[Path | None, typer.Option(help="Write each rejected line here, with its number and the reason.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and change nothing.")] = False,
) -> None:
    """Read a file into a table: new rows are inserted, changed ones updated, bad lines rejected with their reason."""
    from service.cli.importing import run
    from service.jobs.importing import Options

    run(table, file, Options(source=source, format=cast("Format | None", form), rejects=rejects, dry_run=dry_run))


@app.command("export")
def export_(
    table: Annotated[str, typer.Argument(help="The table, for example books.")],
    question: Annotated[
        str, typer.Argument(help="Filters, an order, members, as in a URL: 'author_id=7&sort=-published_year&fields=id,title'.")
    ] = "",
    *,
    form: Annotated[
        str | None, typer.Option("--format", help="csv or ndjson; by default as the file's name says, else csv.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write this file; by default standard output.")] = None,
    formulas: Annotated[
        str, typer.Option(help="quote puts an apostrophe before what a spreadsheet would take for a formula; keep leaves it.")
    ] = "quote",
) -> None:
    """Write all rows of a question into a file, or to standard output: any question that the table's list serves."""
    from service.cli.exporting import run

    run(table, question, output, form=form, formulas=formulas)


@app.command()
def sample(
    books: Annotated[
        int, typer.Option("--books", "--rows", min=1, max=1_000_000, help="How large it becomes; the library counts books.")
    ] = 10_000,
    until: Annotated[
        datetime.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The day on which it is seen; 2026-09-01 if not given.")
    ] = None,
) -> None:
    """Fill an empty database with invented rows, the same each time: all of them, or none if it is interrupted."""
    from service.cli.sampling import run

    run(books, until.date() if until else None)


@app.command()
def contract(
    check: Annotated[Path | None, typer.Option(help="Compare with this file and fail where that asks for something.")] = None,
    write: Annotated[
        Path | None, typer.Option(help="Write this file; what is taken away must stand in the CHANGELOG.md beside it.")
    ] = None,
) -> None:
    """Print which questions every table answers, as JSON."""
    from service.cli.contracts import run

    run(check, write)


@app.command()
def slow(
    table: Annotated[str | None, typer.Argument(help="Show the questions of this table only.")] = None,
    *,
    most: Annotated[int, typer.Option(min=1, max=500, help="How many are shown.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the questions that took too long in the database: how often, how long, the index that they rode, PostgreSQL's plan."""
    from service.cli.slow import run

    run(table, most, as_json=as_json)


@app.command()
def doctor() -> None:
    """Look at the settings and the servers, and say what is wrong and what to do."""
    from service.cli.doctor import run

    run()


@cache.command("stats")
def cache_stats(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show how much is kept of the database's answers, and whether it is believed."""
    from service.cli.caching import stats

    stats(as_json=as_json)


@cache.command("drop")
def cache_drop(table: Annotated[str, typer.Argument(help="The table, for example books.")]) -> None:
    """Have all forgotten that is kept of a table, as after changing it by hand."""
    from service.cli.caching import drop

    drop(table)


@keys.command("create")
def keys_create(
    name: Annotated[str, typer.Argument(help="Who holds the key, or what for.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="What it may do: books:read, books:write, *:read, metrics, admin. May be given again.")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="How long it is good: 90d, 24h, 30m. For ever if not given.")] = None,
    within: Annotated[
        list[str] | None, typer.Option(help="The only rows that it sees and changes, as member_id=7. May be given again.")
    ] = None,
) -> None:
    """Make a key, and print it: on standard output the key alone, this once."""
    from service.cli.keys import create

    create(name, scope or [], expires, within or [])


@keys.command("list")
def keys_list() -> None:
    """List the keys, what each may do, and when it was last used."""
    from service.cli.keys import show

    show()


@keys.command("rotate")
def keys_rotate(
    prefix: Prefix,
    overlap: Annotated[str, typer.Option(help="How long the old key goes on: 24h, 30m; 0 for not at all.")] = "24h",
) -> None:
    """Replace a key by a new one that may do the same, and print that."""
    from service.cli.keys import rotate

    rotate(prefix, overlap)


@keys.command("revoke")
def keys_revoke(prefix: Prefix) -> None:
    """End a key: every process refuses it within a second."""
    from service.cli.keys import revoke

    revoke(prefix)


def main() -> None:
    """Run the command line."""
    try:
        app()
    except SetupError as error:
        _end(str(error))
    except ShelfmarkError as error:
        _end(str(error), FAILURE)


def _end(sentence: str, code: int = USAGE_ERROR) -> None:
    typer.secho(sentence, err=True, fg=typer.colors.RED if sys.stderr.isatty() else None)
    raise SystemExit(code)


def _given(**options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}
