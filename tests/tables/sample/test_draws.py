"""Draws are spread as they say, and the same each time."""

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from service.tables.sample.draws import CHUNK, array, draw, pick, skewed, spans

MANY = "generate_series(1::bigint, 20000) AS id"


async def test_a_draw_is_even(library: AsyncConnection) -> None:
    drawn = (
        await library.execute(text(f"SELECT min(d), max(d), avg(d) FROM (SELECT {draw('id', 1)} AS d FROM {MANY}) AS x"))
    ).one()
    assert 0 <= drawn[0] < 0.001
    assert 0.999 < drawn[1] < 1
    assert drawn[2] == pytest.approx(0.5, abs=0.01)


async def test_a_draw_is_known(library: AsyncConnection) -> None:
    """A sample of today is that of tomorrow: these values may not change."""
    known = (await library.execute(text(f"SELECT {draw('1', 1)}, {pick('2', 3, 1000)}, {skewed('5', 8, 1000, 3)}"))).one()
    assert known == (0.17376440378968527, 536, 375)


async def test_salts_are_unlike(library: AsyncConnection) -> None:
    found = await library.scalar(text(f"SELECT corr({draw('id', 1)}, {draw('id', 2)}) FROM {MANY}"))
    assert abs(found) < 0.03


async def test_a_pick_reaches_all(library: AsyncConnection) -> None:
    counts = (await library.execute(text(f"SELECT {pick('id', 3, 7)} AS p, count(*) FROM {MANY} GROUP BY p ORDER BY p"))).all()
    assert [value for value, _ in counts] == list(range(7))
    assert all(2500 < count < 3200 for _, count in counts)


async def test_skewed_favours_the_low(library: AsyncConnection) -> None:
    low = await library.scalar(text(f"SELECT avg(({skewed('id', 4, 100, 3)} = 0)::int) FROM {MANY}"))
    assert float(low) == pytest.approx(0.01 ** (1 / 3), abs=0.02)


async def test_words_are_quoted(library: AsyncConnection) -> None:
    words = ["L'Été", 'a "b"', "冬"]
    connection = await library.exec_driver_sql(f"SELECT {array(words)}")
    assert connection.scalar_one() == words


async def test_spans_count_to_the_last(library: AsyncConnection) -> None:
    assert len(list(spans(CHUNK))) == 1
    assert len(list(spans(CHUNK + 1))) == 2
    numbers = " UNION ALL ".join(f"SELECT id FROM {span}" for span in spans(CHUNK + 5))
    query = f"SELECT count(DISTINCT id), min(id), max(id) FROM ({numbers}) AS x"
    assert (await library.execute(text(query))).one() == (CHUNK + 5, 1, CHUNK + 5)
