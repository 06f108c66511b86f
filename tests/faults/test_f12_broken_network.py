"""F12: a connection to the database reset in the middle of an answer, and one on which nothing comes any more: deadlines hold."""

import asyncio
from functools import partial
from time import monotonic

import pytest

from service.settings import Settings
from tests.faults.figures import Figures, fault
from tests.faults.inside import inside
from tests.faults.load import Told, load
from tests.faults.postgres import own_postgres, prepared
from tests.faults.proxy import Proxy, proxied
from tests.waiting import until

SILENT_SECONDS = 9.0
"""Longer than any statement may take, so that the time limits must end them, and no end of the silence does."""
RESETS = 20
CLIENTS = 12


async def resets(proxy: Proxy, told: Told) -> None:
    """Reset connections one after the other, each after the first bytes of an answer, when everybody was told of the one before."""
    for number in range(1, RESETS + 1):
        proxy.cut_after = 10
        await until(partial(_cut, proxy, number))
        await until(partial(_answered, told, len(told.answers) + 2 * CLIENTS))


def _cut(proxy: Proxy, number: int) -> bool:
    return proxy.cuts == number


def _answered(told: Told, number: int) -> bool:
    return len(told.answers) >= number


@pytest.mark.slow
@fault(
    "F12",
    done=f"{RESETS} connections to the database are reset in the middle of an answer; then nothing passes any more for "
    f"{SILENT_SECONDS:.0f} s, and no connection is closed",
    holds="only 503, hardly a read among the resets; refusals within the driver's limit and 1 s more; all well 2 s after",
)
async def test_the_network_breaks(figures: Figures) -> None:
    limits = Settings(_env_file=None)
    with own_postgres() as postgres:
        await prepared(postgres)
        async with proxied(postgres.socket) as proxy, inside(postgres.through(proxy.port)) as here:
            base = f"http://127.0.0.1:{here.port}"
            async with load(base) as reset:
                await asyncio.sleep(0.5)
                await resets(proxy, reset)
                await asyncio.sleep(1.0)
            async with load(base) as silent:
                await asyncio.sleep(0.5)
                proxy.silent = True
                await asyncio.sleep(SILENT_SECONDS)
                proxy.silent = False
                proxy.drop()
                heard = monotonic()
                await asyncio.sleep(4.0)
            whole = await until(here.whole)
    figures.tell(f"{proxy.cuts} resets: {reset.in_words()}")
    figures.tell(
        f"silence: longest read {silent.longest('read'):.2f} s, write {silent.longest('write'):.2f} s; {silent.in_words()}"
    )
    figures.tell(f"last refusal {silent.last_refused(heard):.2f} s after; every permit free {whole:.2f} s after the load")
    margin = limits.driver_margin_ms / 1000 + 1.0
    assert reset.statuses("read")[200] >= 0.98 * reset.statuses("read").total()
    assert set(reset.statuses("read")) <= {200, 503}
    assert set(reset.statuses("write")) <= {201, 503}
    assert set(silent.statuses("read")) <= {200, 503}
    assert set(silent.statuses("write")) <= {201, 503}
    assert silent.longest("read") <= limits.read_timeout_ms / 1000 + margin
    assert silent.longest("write") <= limits.write_timeout_ms / 1000 + margin
    assert silent.last_refused(heard) <= 2.0
