"""The gate against an oracle: in order, no permit lost or given twice, and whoever can't be served in time is told at once."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.db.gate import BOUNDS, HURRY_SECONDS, Gate, Permit
from service.errors import Overloaded
from tests.waiting import LATE_SECONDS

LONG = 60.0
STEPS = st.lists(
    st.one_of(
        st.just(("ask", 0)),
        st.tuples(st.sampled_from(["end", "cancel", "end and cancel who is next"]), st.integers(0, 9)),
    ),
    max_size=60,
)


def gate(permits: int = 1, patience_seconds: float = LONG, queue_most: int = 1000) -> Gate:
    """A gate that is patient, until a test wants another."""
    return Gate(permits, patience_seconds=patience_seconds, queue_most=queue_most)


@dataclass
class Clock:
    """The gate's clock, which goes when a test says so."""

    now: float = 1_000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What the gate expects is worked out of times: on a busy machine, else, of other ones than the test means."""
    made = Clock()
    monkeypatch.setattr("service.db.gate.monotonic", made)
    return made


async def settled() -> None:
    """Let every task run as far as it gets."""
    for _ in range(5):
        await asyncio.sleep(0)


@dataclass
class World:
    """Tasks that ask for permits, beside a list of who must have one and a queue of who must wait."""

    permits: int
    holding: list[int] = field(default_factory=list)
    waiting: deque[int] = field(default_factory=deque)
    served: list[int] = field(default_factory=list)
    asked: int = 0

    def __post_init__(self) -> None:
        self.gate = gate(self.permits)
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.ends: dict[int, asyncio.Event] = {}

    async def take(self, number: int) -> None:
        """Ask, hold until told otherwise, give back."""
        permit = await self.gate.take()
        try:
            self.served.append(number)
            await self.ends[number].wait()
        finally:
            permit.give_back()

    async def ask(self, _: int) -> None:
        """One more asks."""
        number = self.asked
        self.asked += 1
        self.ends[number] = asyncio.Event()
        self.tasks[number] = asyncio.create_task(self.take(number))
        self.waiting.append(number)

    async def end(self, place: int) -> None:
        """One of those who have a permit ends."""
        if self.holding:
            number = self.holding.pop(place % len(self.holding))
            self.ends[number].set()

    async def cancel(self, place: int) -> None:
        """One of those who have a permit, or wait, is cancelled."""
        everybody = [*self.holding, *self.waiting]
        if everybody:
            number = everybody[place % len(everybody)]
            self.tasks[number].cancel()
            (self.holding if number in self.holding else self.waiting).remove(number)

    async def end_and_cancel_who_is_next(self, place: int) -> None:
        """A permit comes back, and whoever was given it is cancelled before they know."""
        if self.holding and self.waiting:
            await self.end(place)
            await asyncio.sleep(0)
            self.tasks[self.waiting.popleft()].cancel()

    def compare(self, expected: list[int]) -> None:
        """What is must be what has to be."""
        while self.waiting and len(self.holding) < self.permits:
            number = self.waiting.popleft()
            self.holding.append(number)
            expected.append(number)

    async def run(self, steps: list[tuple[str, int]]) -> None:
        """Take the steps, and compare after each."""
        expected: list[int] = []
        for step, place in steps:
            await getattr(self, step.replace(" ", "_"))(place)
            await settled()
            self.compare(expected)
            assert self.served == expected
            assert self.gate.queued == len(self.waiting)
            assert self.gate.free == self.permits - len(self.holding)
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        assert (self.gate.free, self.gate.queued) == (self.permits, 0)


@given(st.integers(1, 3), STEPS)
def test_permits_go_round_in_order_whatever_happens(permits: int, steps: list[tuple[str, int]]) -> None:
    async def all_of_it() -> None:
        await World(permits).run(steps)

    asyncio.run(all_of_it())


async def asked(made: Gate, by: float | None = None) -> Permit:
    """A permit of somebody else's: whoever asks later isn't held to have it."""
    return await asyncio.create_task(made.take(by))


async def answer(made: Gate, by: float | None = None) -> Permit | BaseException:
    """What somebody gets who asks."""
    return (await asyncio.gather(asked(made, by), return_exceptions=True))[0]


def asking(made: Gate, number: int) -> list[asyncio.Task[Permit]]:
    """So many who ask at the same time."""
    return [asyncio.create_task(made.take()) for _ in range(number)]


def ended(tasks: list[asyncio.Task[Permit]]) -> None:
    """Nobody waits any more."""
    for task in tasks:
        task.cancel()


def refused(tasks: list[asyncio.Task[Permit]]) -> int:
    """How many were refused."""
    return sum(task.done() and isinstance(task.exception(), Overloaded) for task in tasks)


def holding_for(made: Gate, seconds: float) -> None:
    """Let the gate believe that permits are held for so long."""
    for _ in range(100):
        made.count(seconds)


async def test_a_newcomer_does_not_overtake() -> None:
    made = gate()
    first = await asked(made)
    order: list[str] = []

    async def follow(name: str) -> None:
        permit = await made.take()
        order.append(name)
        permit.give_back()

    waiting = asyncio.create_task(follow("waiting"))
    await settled()
    first.give_back()
    await asyncio.gather(asyncio.create_task(follow("newcomer")), waiting)
    assert order == ["waiting", "newcomer"]


async def test_a_permit_is_given_back_once() -> None:
    made = gate()
    permit = await asked(made)
    permit.give_back()
    permit.give_back()
    assert made.free == 1


async def test_asking_while_holding_is_a_mistake() -> None:
    made = gate(2)
    permit = await made.take()
    with pytest.raises(RuntimeError, match="while another one is held"):
        await made.take()
    with pytest.raises(RuntimeError, match="while another one is held"):
        await asyncio.create_task(made.take())
    permit.hand_over()
    (await made.take()).give_back()
    permit.give_back()
    (await made.take()).give_back()
    assert made.free == 2


async def test_another_gate_may_be_asked() -> None:
    first = await gate().take()
    second = await gate().take()
    first.give_back()
    second.give_back()


async def test_a_full_queue_is_told_at_once() -> None:
    made = gate(queue_most=2)
    tasks = asking(made, 4)
    await settled()
    assert (refused(tasks), made.sheds["queue"], made.sheds["hurry"]) == (2, 1, 1)
    ended(tasks)


async def test_who_waits_in_vain_is_told_when_patience_ends() -> None:
    made = gate(patience_seconds=0.05)
    permit = await asked(made)
    began = monotonic()
    assert isinstance(await answer(made), Overloaded)
    assert 0.04 < monotonic() - began < LATE_SECONDS
    assert (made.timeouts, made.queued) == (1, 0)
    permit.give_back()
    assert made.free == 1


async def test_who_would_wait_for_longer_than_the_gate_is_patient_is_told_at_once(clock: Clock) -> None:
    made = gate(patience_seconds=1.0)
    holding_for(made, 0.4)
    tasks = asking(made, 4)
    await settled()
    assert (refused(tasks), made.sheds["deadline"]) == (
        2,
        1,
    )  # the third would wait 1.2 s; the second's turn is too late in a hurry
    ended(tasks)


async def test_who_has_less_time_than_the_wait_takes_is_told_at_once(clock: Clock) -> None:
    made = gate()
    holding_for(made, 0.4)
    permit = await asked(made)
    assert isinstance(await answer(made, clock() + 0.3), Overloaded)
    assert isinstance(await answer(made, clock() - 1.0), Overloaded)
    tasks = asking(made, 3)
    await settled()
    assert refused(tasks) == 0  # that the first two were in a hurry puts nobody else in one
    ended(tasks)
    permit.give_back()


async def test_what_stands_still_is_expected_to_stand_still(clock: Clock) -> None:
    made = gate(patience_seconds=1.0)
    permit = await asked(made)
    assert made.expected(clock() + 0.5) == pytest.approx(0.5)
    assert made.expected(clock() + 5.0) > made.patience
    permit.give_back()


async def test_in_a_hurry_only_the_next_few_may_wait(clock: Clock) -> None:
    made = gate(4, patience_seconds=1.0)
    holding_for(made, 0.1)
    tasks = asking(made, 4 + 40)
    await settled()
    assert (refused(tasks), made.queued) == (0, 40)
    with pytest.raises(Overloaded):
        made.admit()
    await settled()
    assert (refused(tasks), made.queued) == (36, 4)
    assert isinstance(await answer(made), Overloaded)
    assert made.sheds == {"queue": 0, "deadline": 1, "hurry": 37}
    ended(tasks)


async def test_a_hurry_turns_nobody_away_whose_turn_comes_in_a_moment(clock: Clock) -> None:
    """Else clients that ask again at once would keep it up for ever."""
    made = gate(4, patience_seconds=1.0)
    holding_for(made, 0.1)
    tasks = asking(made, 4 + 40)
    await settled()
    with pytest.raises(Overloaded):
        made.admit()
    ended(tasks)
    await settled()
    holding_for(made, 0.002)
    tasks = asking(made, 32)
    await settled()
    assert refused(tasks) == 0
    ended(tasks)


async def test_a_hurry_ends(clock: Clock) -> None:
    made = gate(queue_most=4)
    holding_for(made, 0.1)
    first = asking(made, 6)
    await settled()
    assert made.queued == 1
    clock.now += HURRY_SECONDS + 0.01
    second = asking(made, 3)
    await settled()
    assert (refused(second), made.queued) == (0, 4)
    ended(first + second)


async def test_nobody_is_refused_while_permits_are_free() -> None:
    made = gate(queue_most=0)
    made.admit()
    permit = await asked(made)
    with pytest.raises(Overloaded):
        made.admit()
    permit.give_back()
    made.admit()


async def test_upkeep_takes_what_nobody_wants() -> None:
    made = gate(2)
    spare = [made.spare(), made.spare(), made.spare()]
    assert spare[2] is None
    waiting = asking(made, 1)
    await settled()
    assert spare[0]
    spare[0].give_back()
    (await waiting[0]).give_back()
    assert sum(made.holds) == 1
    assert made.free == 1


async def test_times_are_counted() -> None:
    made = gate()
    permit = await asked(made)
    waiting = asking(made, 1)
    await asyncio.sleep(0.02)
    permit.give_back()
    (await waiting[0]).give_back()
    assert sum(made.waits) == sum(made.holds) == 2
    assert made.waits[0] == 1
    (waited,) = (bucket for bucket, number in enumerate(made.waits) if number and bucket)
    assert BOUNDS[waited - 1] <= made.waited < BOUNDS[waited]
    assert made.held >= 0.02
    for seconds, bucket in ((0.0, 0), (1e-6, 1), (0.9e-3, 10), (1.1e-3, 11), (1e9, len(BOUNDS))):
        before = made.holds[bucket]
        made.count(seconds)
        assert made.holds[bucket] == before + 1
