"""What separates the indexes of a table from those of its model, as the fewest operations that end it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from service.migrations.concurrent import BuildIndex, IndexOperation, RemoveIndex, RenameIndex
from service.migrations.definitions import Definition, Standing
from service.migrations.places import Place, left_behind

Indexes = Mapping[str, Standing]


@dataclass
class Matching:
    """One table's indexes, those that the model wants and those that stand.

    Attributes:
        wanted: by name.
        standing: by name; names change as operations are found.
        ours: whether an index that no model has was made by our migrations.
        outside: those that weren't, once `operations` has been called.
    """

    place: Place
    wanted: Indexes
    standing: dict[str, Standing]
    ours: Callable[[str], bool]
    outside: list[str] = field(default_factory=list)

    def operations(self) -> list[IndexOperation]:
        """Renamings first, as what is renamed needs no building; what no model has goes last, when all else stands."""
        return [*self._renamings(), *self._buildings(), *self._removals()]

    def _renamings(self) -> Iterator[IndexOperation]:
        for name in sorted(self.wanted):
            if self._right(name):
                continue
            definition = self.wanted[name].definition
            old = self._free(definition)
            if old is not None:
                self._exchange(old, name)
                yield RenameIndex(old, name, self.place.table, definition=definition, schema=self.place.schema)

    def _buildings(self) -> Iterator[IndexOperation]:
        for name, index in sorted(self.wanted.items()):
            if not self._right(name):
                yield BuildIndex(index, self.place.table, schema=self.place.schema, replaces=self.standing.get(name))

    def _removals(self) -> Iterator[IndexOperation]:
        for name in sorted(self.standing.keys() - self.wanted.keys()):
            if left_behind(name):
                yield RemoveIndex(name, self.place.table, schema=self.place.schema)
            elif self.ours(name):
                yield RemoveIndex(name, self.place.table, schema=self.place.schema, was=self.standing[name])
            else:
                self.outside.append(name)

    def _right(self, name: str) -> bool:
        here = self.standing.get(name)
        return here is not None and here.valid and here.definition == self.wanted[name].definition

    def _free(self, definition: Definition) -> str | None:
        """The name of an index of this definition that isn't needed where it is; one that no model has before any other."""
        names = (name for name, one in self.standing.items() if one.valid and one.definition == definition and self._movable(name))
        return min(names, key=lambda name: (name in self.wanted, name), default=None)

    def _movable(self, name: str) -> bool:
        if name in self.wanted:
            return not self._right(name)
        return self.ours(name) and not left_behind(name)

    def _exchange(self, old: str, new: str) -> None:
        moved, other = self.standing.pop(old), self.standing.pop(new, None)
        self.standing[new] = replace(moved, name=new)
        if other is not None:
            self.standing[old] = replace(other, name=old)
