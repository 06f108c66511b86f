"""`shelfmark indexes`: what stands, what it is for, what is missing, and what is too much."""

from typing import Annotated

import typer

app = typer.Typer(
    help="The indexes of the database: what each serves, whether it keeps its promise, which are too many, which are missing.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """Show every index, and what it serves.

    With it its size, how often it was scanned and when last, and whether it is valid; and foreign keys that no index leads.
    """
    from service.cli.standing import run_list

    run_list(as_json=as_json)


@app.command()
def check(
    tables: Annotated[list[str] | None, typer.Argument(help="Prove these tables only.")] = None,
    *,
    scratch: Annotated[
        int | None, typer.Option(min=1, max=10_000_000, help="Prove in a database made for it, with a sample of so many rows.")
    ] = None,
) -> None:
    """Prove that each served question rides its index.

    The models' indexes are compared with the database's, and PostgreSQL plans and runs each question. It ends with 1 where
    something is wrong.
    """
    from service.cli.proving import run

    run(scratch, tables or ())


@app.command()
def duplicates(*, as_json: AsJson = False) -> None:
    """Show the indexes that do what another does.

    Those of the same definition, and those that another one begins with; and for those that only seem so, what keeps them.
    """
    from service.cli.standing import run_duplicates

    run_duplicates(as_json=as_json)


@app.command()
def unused(*, as_json: AsJson = False) -> None:
    """Show the indexes that were never used.

    None that a question, a rule or a foreign key needs; what is served and was never asked stands apart. And since when PostgreSQL
    counts.
    """
    from service.cli.standing import run_unused

    run_unused(as_json=as_json)


@app.command()
def suggest(
    *,
    share: Annotated[float, typer.Option(min=0.0, max=1.0, help="The part of the refusals that is to be served.")] = 0.95,
    rows: Annotated[
        int, typer.Option(min=0, max=1_000_000, help="Rows of each table that a suggestion is tried on; 0: don't try.")
    ] = 50_000,
    as_json: AsJson = False,
) -> None:
    """Show the indexes that clients miss.

    The ledger of refused questions tells: the fewest that would serve most of them. Each is built on a part of the rows in a
    scratch database, explained, and priced.
    """
    from service.cli.suggesting import run

    run(share, rows, as_json=as_json)
