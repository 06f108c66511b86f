"""What the build of an index costs the writers of its table, at full size: a million rows, 200 writes a second."""

import tempfile

import pytest

from bench.building import PROMISED_RATIO, PROMISED_WAIT_MS, Met, compared, filled, line, project
from tests.fixtures.databases import new_database
from tests.fixtures.servers import Servers

ROWS, ROUNDS, ROUNDS_MOST = 1_000_000, 2, 6
"""More rounds where others use the machine: that makes a round slower, and nothing makes it quicker."""
OURS = ("our build", "our swap")


def quick(found: dict[str, Met]) -> bool:
    """Whether writers are as quick as it is promised."""
    return all(found[name].best < PROMISED_RATIO * found["control"].best for name in OURS)


@pytest.mark.slow
async def test_writers_hardly_notice_a_build_or_a_swap(servers: Servers) -> None:
    async with new_database(servers) as url:
        await filled(url, ROWS)
        with tempfile.TemporaryDirectory() as folder:
            made = project(url, folder)
            found = await compared(url, ROWS, ROUNDS, made)
            while not quick(found) and len(found["control"].rounds) < ROUNDS_MOST:
                found = await compared(url, ROWS, 1, made, found)
    told = "\n".join(line(name, met) for name, met in found.items())
    assert quick(found), told
    for name in OURS:
        assert found[name].building, f"no {name} was seen"
        assert found[name].wait * 1000 <= PROMISED_WAIT_MS, told
        assert found[name].scans <= found["quiet control"].scans, told
