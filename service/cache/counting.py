"""What the cache of a process counts, as numbers that /metrics tells."""

from service.cache.caching import Cache
from service.telemetry.counting import Family, Told

READ = Family(
    "shelfmark_cache_reads_total",
    "counter",
    "Answers of tables that are kept: out of Redis (hit), read to be kept (miss), or read since nothing may be believed (pass).",
    ("how",),
)
JOINED = Family("shelfmark_cache_joined_total", "counter", "Of the misses, those that another one's reading answered.")
FILLS = Family(
    "shelfmark_cache_fills_total", "counter", "Answers that were kept; or weren't, since a write had overtaken them.", ("outcome",)
)
BYTES = Family("shelfmark_cache_filled_bytes_total", "counter", "Bytes of the answers that were kept.")
DROPPED = Family("shelfmark_cache_dropped_total", "counter", "Tags whose answers were forgotten.")
FAILED = Family("shelfmark_cache_untold_total", "counter", "Writes that Redis couldn't be told of; others did later.")
OVERDUE = Family("shelfmark_cache_overdue_total", "counter", "Writes of others that nobody had told Redis of, found and told.")
LOST = Family("shelfmark_cache_lost_total", "counter", "Times that Redis didn't answer the cache in time, or hung up.")
ALONE = Family("shelfmark_cache_alone", "gauge", "1 while a process does without Redis.", together="max")
FAMILIES = (
    *(READ, JOINED, FILLS, BYTES),
    *(DROPPED, FAILED, OVERDUE, LOST, ALONE),
)


def told(cache: Cache) -> Told:
    """The numbers of one process."""
    counts = cache.store.counts
    for how, times in (("hit", counts.hits), ("miss", counts.misses), ("pass", counts.passed)):
        yield READ.name, (how,), [times]
    yield JOINED.name, (), [counts.joined]
    yield FILLS.name, ("kept",), [counts.fills]
    yield FILLS.name, ("overtaken",), [counts.refused]
    yield BYTES.name, (), [counts.bytes]
    yield DROPPED.name, (), [cache.dropping.dropped]
    yield FAILED.name, (), [cache.dropping.failed]
    yield OVERDUE.name, (), [cache.epoch.overdue]
    yield LOST.name, (), [cache.pipe.given_up]
    yield ALONE.name, (), [float(not cache.pipe.open)]
