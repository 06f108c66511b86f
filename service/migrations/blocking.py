"""Whom a statement holds up, and for how long: what there is to say of a lock."""

from dataclasses import dataclass
from enum import IntEnum


class Blocks(IntEnum):
    """Who waits, the worst last."""

    NOBODY = 0
    ROWS = 1
    UNKNOWN = 2
    WRITES = 3
    EVERYTHING = 4


@dataclass(frozen=True, slots=True)
class Effect:
    """Whom a statement holds up.

    Attributes:
        blocks: who has to wait.
        tables: of which tables; or expressly not of them.
        during: what takes long: "it builds"; empty where it is over in a moment.
        note: what else there is to know.
    """

    blocks: Blocks = Blocks.NOBODY
    tables: tuple[str, ...] = ()
    during: str = ""
    note: str = ""

    def __str__(self) -> str:
        return "; ".join(part for part in (self._held(), self.note) if part)

    @property
    def weight(self) -> tuple[Blocks, bool]:
        """How bad it is, for comparing."""
        return (self.blocks, bool(self.during))

    def _held(self) -> str:
        which = " and ".join(self.tables)
        long = f"while it {self.during}" if self.during else "for a moment"
        match self.blocks:
            case Blocks.EVERYTHING:
                return f"blocks everything on {which} {long}"
            case Blocks.WRITES:
                return f"blocks writes of {which} {long}"
            case Blocks.ROWS:
                return f"locks the rows of {which} that it changes until the migration is committed"
            case Blocks.UNKNOWN:
                return "what it locks isn't known here: PostgreSQL's documentation of the command says it"
        if which:
            return f"blocks neither reads nor writes of {which}"
        return "" if self.note else "blocks nobody"


def together(effects: list[Effect]) -> Effect:
    """Several effects of one statement as one: the worst decides how long, all tables that it blocks so are named."""
    worst = max(effects, key=lambda effect: effect.weight)
    tables = tuple(dict.fromkeys(table for effect in effects if effect.blocks == worst.blocks for table in effect.tables))
    notes = "; ".join(dict.fromkeys(effect.note for effect in effects if effect.note))
    return Effect(worst.blocks, tables, worst.during, notes)
