"""A library in plain Python, one act after the other: what the database's must do too. Rows are known by their place in a list."""

from dataclasses import dataclass, field

from service.tables.rules import LendingRules

Answer = str
DONE = "done"


@dataclass
class ALoan:
    """A copy, a member, and whether it is open."""

    copy: int
    member: int
    open: bool = True
    renewals: int = 0


@dataclass
class AHold:
    """A book, a member, and what became of it."""

    book: int
    member: int
    status: str
    copy: int | None


@dataclass
class Library:
    """Copies by their book, and everything that was done with them."""

    rules: LendingRules
    copies: list[int]
    status: list[str] = field(default_factory=list)
    loans: list[ALoan] = field(default_factory=list)
    holds: list[AHold] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.status = ["available"] * len(self.copies)

    def borrow(self, member: int, book: int) -> Answer:
        """Borrow any copy."""
        return self._lend(member, book, None)

    def scan(self, member: int, copy: int) -> Answer:
        """Borrow this copy."""
        copy %= len(self.copies)
        return self._lend(member, self.copies[copy], copy)

    def _lend(self, member: int, book: int, scanned: int | None) -> Answer:
        if sum(loan.open and loan.member == member for loan in self.loans) >= self.rules.loans_most:
            return "too-many-loans"
        hold = next((one for one in self.holds if (one.book, one.member, one.status) == (book, member, "ready")), None)
        if hold and hold.copy is not None:
            if scanned not in {None, hold.copy}:
                return "another-copy-set-aside"
            hold.status = "fulfilled"
            return self._lent(hold.copy, member)
        if scanned is not None and self.status[scanned] != "available":
            return self.status[scanned].replace("_", "-")
        copy = scanned if scanned is not None else self._free(book)
        return "no-copy-free" if copy is None else self._lent(copy, member)

    def _lent(self, copy: int, member: int) -> Answer:
        self.status[copy] = "lent"
        self.loans.append(ALoan(copy, member))
        return DONE

    def give_back(self, number: int) -> Answer:
        """Return a copy."""
        loan = self.loans[number % len(self.loans)]
        if not loan.open:
            return "returned"
        loan.open = False
        return self._hand_on(loan.copy)

    def renew(self, number: int) -> Answer:
        """Keep it longer."""
        loan = self.loans[number % len(self.loans)]
        if not loan.open:
            return "returned"
        if loan.renewals >= self.rules.renewals_most:
            return "renewed-often-enough"
        if self._next(self.copies[loan.copy]):
            return "somebody-waits"
        loan.renewals += 1
        return DONE

    def place(self, member: int, book: int) -> Answer:
        """Wait for a book."""
        if any(loan.open and loan.member == member and self.copies[loan.copy] == book for loan in self.loans):
            return "on-loan"
        if any((hold.book, hold.member) == (book, member) and hold.status in {"waiting", "ready"} for hold in self.holds):
            return "held"
        copy = self._free(book)
        self.holds.append(AHold(book, member, "waiting" if copy is None else "ready", copy))
        if copy is not None:
            self.status[copy] = "set_aside"
        return DONE

    def cancel(self, number: int) -> Answer:
        """Wait no longer."""
        hold = self.holds[number % len(self.holds)]
        if hold.status not in {"waiting", "ready"}:
            return hold.status
        return self._end(hold, "cancelled")

    def expire(self) -> Answer:
        """Let time pass: what is set aside now isn't fetched, nor what is set aside for the next ones."""
        while hold := next((one for one in self.holds if one.status == "ready"), None):
            self._end(hold, "expired")
        return DONE

    def enter(self, book: int) -> Answer:
        """Buy another copy."""
        self.copies.append(book)
        self.status.append("available")
        return self._hand_on(len(self.copies) - 1)

    def _end(self, hold: AHold, status: str) -> Answer:
        hold.status = status
        return DONE if hold.copy is None else self._hand_on(hold.copy)

    def _hand_on(self, copy: int) -> Answer:
        hold = self._next(self.copies[copy])
        if hold:
            hold.status, hold.copy = "ready", copy
        self.status[copy] = "set_aside" if hold else "available"
        return DONE

    def _next(self, book: int) -> AHold | None:
        return next((hold for hold in self.holds if (hold.book, hold.status) == (book, "waiting")), None)

    def _free(self, book: int) -> int | None:
        pairs = enumerate(zip(self.copies, self.status, strict=True))
        return next((copy for copy, found in pairs if found == (book, "available")), None)
