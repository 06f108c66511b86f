"""Garbage collection in a process that serves: nothing that was made before the first request is looked at again.

Modules, models, routes and schemas are hundreds of thousands of objects that live as long as the process. A full collection visits
all of them, again and again under load: a pause of 60 ms each time, for every request that is under way.
"""

import gc

YOUNG_MOST = 10_000
"""Objects that are made, less those that end, between two collections of the youngest. Almost all that a request makes ends with
it, without being collected; Python's own 700 are the requests of a moment."""


def settle() -> None:
    """Take what there is for good, once all that a process needs to serve has been made."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MOST, *gc.get_threshold()[1:])
