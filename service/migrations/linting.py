"""Migrations read before anybody runs them: `python -m service.migrations.linting`, a part of `make check`.

Two readings. Of the files: an index of a table in use must be built and dropped by the operations that hold nobody up, in a
migration of their own. Of the SQL that they become: squawk's rules, of which .squawk.toml says which hold here and why. What a
migration does in spite of a rule it says with its reason, in a line of its own: `# squawk: ban-drop-column, nothing reads it`.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from alembic.script import Script, ScriptDirectory

from service.errors import SetupError
from service.migrations.chain import refuse_broken
from service.migrations.commands import config
from service.migrations.squawking import squawked

CONCURRENT = {"build_index", "remove_index", "rename_index"}
PLAIN = {
    "create_index": "holds up every write while it builds. Write op.build_index({name}, {table}, 'btree (...)')",
    "restore_index": "holds up every write while it builds. Write op.build_index({name}, {table}, ...)",
    "drop_index": "holds up everything until it gets its lock. Write op.remove_index({name}, {table})",
}
ASKING = {"f", "get_bind", "get_context", "inline_literal"}
"""Of `op`, what does nothing to a database."""


def mistakes(source: str) -> Iterator[str]:
    """What is wrong with a migration's file, a sentence for each, with the line in front.

    Each function is read by itself: a table that another one makes isn't seen.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            calls = [each for each in ast.walk(node) if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute)]
            yield from _plain(calls)
            yield from _mixed(node, calls)


def _plain(calls: list[ast.Call]) -> Iterator[str]:
    """Indexes built or dropped under a lock, but for those of tables that are made or dropped there as well."""
    whole = {_argument(call, 0, "table_name") for call in calls if _verb(call) in {"create_table", "drop_table"}}
    for call in calls:
        verb = _verb(call)
        table = _argument(call, 1, "table_name")
        if verb in PLAIN and (table is None or table not in whole):
            instead = PLAIN[verb].format(name=repr(_argument(call, 0, "index_name") or "..."), table=repr(table or "..."))
            which = table or "a table"
            yield f"{call.lineno}: {verb} on {which}, which isn't made or dropped here, {instead} in a migration of its own."


def _mixed(function: ast.FunctionDef, calls: list[ast.Call]) -> Iterator[str]:
    """Operations outside of any transaction beside those that need one."""
    verbs = [_verb(call) for call in calls if ast.unparse(call.func).startswith("op.")]
    apart = [verb for verb in verbs if verb in CONCURRENT]
    others = [verb for verb in verbs if verb not in CONCURRENT | ASKING]
    if apart and others:
        both = f"{function.name}() has op.{apart[0]} beside op.{others[0]}"
        yield (
            f"{function.lineno}: {both}. Broken off between the two, it can't be run again. Put the operations on indexes into a "
            "migration of their own, after this one."
        )


def _verb(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def _argument(call: ast.Call, at: int, name: str) -> str | None:
    """An argument that is written as a plain string, possibly as `op.f("...")`."""
    given = next((keyword.value for keyword in call.keywords if keyword.arg == name), None)
    found = given or (call.args[at] if len(call.args) > at else None)
    if isinstance(found, ast.Call) and found.args:
        found = found.args[0]
    return found.value if isinstance(found, ast.Constant) and isinstance(found.value, str) else None


def findings(script: ScriptDirectory) -> Iterator[str]:
    """All that is wrong with the migrations of a project, the oldest first, each sentence with its file and line.

    Raises:
        SetupError: they don't make a chain, or squawk isn't there.
    """
    refuse_broken(script)
    migrations: list[Script] = list(script.walk_revisions())[::-1]
    for migration in migrations:
        path = Path(migration.path)
        yield from (f"{path.name}:{sentence}" for sentence in mistakes(path.read_text()))
    yield from squawked(migrations)


def main() -> None:
    """Print what is wrong with the migrations of this project, or of the alembic.ini that is named; exit with 1 if anything is."""
    try:
        found = list(findings(ScriptDirectory.from_config(config(ini=Path(sys.argv[1]) if sys.argv[1:] else None))))
    except SetupError as error:
        sys.exit(str(error))
    for sentence in found:
        sys.stdout.write(f"{sentence}\n")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
