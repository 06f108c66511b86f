"""`shelfmark jobs`: what workers do, have done and will do, for who has the database; no key and no running service is needed."""

from typing import Annotated

import typer

app = typer.Typer(
    help="Jobs: list, show, watch, cancel and retry them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Ids = Annotated[list[int], typer.Argument(help="The jobs' numbers.", min=1)]


@app.command("list")
def list_(
    *,
    state: Annotated[str | None, typer.Option(help="Those in this state: queued, running, done, failed, cancelled.")] = None,
    name: Annotated[str | None, typer.Option(help="Those of this name, as import.")] = None,
    most: Annotated[int, typer.Option(min=1, max=1000, help="How many are shown.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, the newest first."""
    from service.cli.steering import show_all

    show_all(state, name, most, as_json=as_json)


@app.command()
def show(id_: Annotated[int, typer.Argument(metavar="ID", help="The job's number.", min=1)], *, as_json: AsJson = False) -> None:
    """Show all there is to know of a job, also what it was called with."""
    from service.cli.steering import show_one

    show_one(id_, as_json=as_json)


@app.command()
def retry(ids: Ids) -> None:
    """Let jobs that failed or were cancelled go on, where they had come to; imports from the start of their files."""
    from service.cli.steering import retry

    retry(ids)


@app.command()
def cancel(ids: Ids) -> None:
    """Have jobs end: those that wait at once, those that run within moments. What their chunks have committed stays."""
    from service.cli.steering import cancel

    cancel(ids)


@app.command()
def watch(
    ids: Annotated[list[int] | None, typer.Argument(help="The jobs' numbers; every open job if none is given.")] = None,
) -> None:
    """Watch how far jobs are, until they have ended; without numbers, whatever comes, until Ctrl-C.

    It ends with 1 where one of them has failed or was cancelled.
    """
    from service.cli.watching import run

    run(ids or [])
