"""The lending desk: lending's routes, beside those that loans, holds and books have as tables."""

from typing import Annotated, Any, Self

from fastapi import Depends, Path, Request, Response
from pydantic import Field, model_validator

from service.db.version import Match
from service.errors import Conflict, PreconditionFailed, PreconditionRequired
from service.http import Schema, minds_rows, openapi
from service.http.callers import caller_of
from service.http.confining import Rows, rows_of
from service.http.problems import responses
from service.http.scopes import needed
from service.http.serve import BUSY, MADE, ONE, WRITE
from service.http.uses import service_of
from service.tables import books, holds, loans
from service.tables.availability import Availability, availability
from service.tables.holds import HoldRead
from service.tables.lending import Lending
from service.tables.loans import Loan, LoanRead
from service.tables.rules import LendingRules

MOST = 2**63 - 1
Key = Annotated[int, Field(ge=1, le=MOST)]
Id = Annotated[int, Path(alias="id", ge=1, le=MOST)]
ACT = ONE | responses(PreconditionFailed, Conflict, *BUSY)
IF_MATCH = {"parameters": [openapi.if_match(None)]}


def lending(request: Request) -> Lending:
    """The acts, over the application's database and by its rules."""
    service = service_of(request)
    return Lending(service.database, service.section(LendingRules))


Desk = Annotated[Lending, Depends(lending)]
Wanted = Annotated[Match, Depends(loans.router.wanted)]
"""Which state of a loan an act is meant for: loans demand to be told."""
Meant = Annotated[Match, Depends(loans.router.meant)]
"""The same, for who may leave it open: an act that can be done once needs no guard against the second time."""
WantedHold = Annotated[Match, Depends(holds.router.wanted)]
Theirs = Annotated[Rows, Depends(rows_of(Loan))]
"""What a key is confined to: the loans and holds of one member, or nothing."""


class LoanWrite(Schema):
    """Who borrows what: any copy of a book, or the one with a barcode."""

    member_id: Key
    book_id: Key | None = None
    barcode: str | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.book_id is None) == (self.barcode is None):
            raise ValueError("send a book_id for any copy of it, or the barcode of one copy; not both")
        return self


class HoldWrite(Schema):
    """Who waits for what."""

    member_id: Key
    book_id: Key


class Returned(Schema):
    """A loan that has ended, and for whom the copy is set aside now."""

    loan: LoanRead
    hold: HoldRead | None = Field(
        description="The hold whose turn it is; null where the copy stands on the shelf again, or the key may not see it."
    )


class HoldPlaced(HoldRead):
    """A new hold."""

    place: int | None = Field(
        description="Its place in the queue: 1 is the next in line. Null for a hold that is ready, or stands far behind."
    )


@loans.router.post("", summary="Borrow", status_code=201, response_model=LoanRead, responses=MADE | WRITE)
@minds_rows
async def borrow(request: Request, body: LoanWrite, desk: Desk, theirs: Theirs, response: Response) -> Loan:
    """Lend a copy to a member. The one that is set aside for them comes first."""
    theirs.check({"member_id": body.member_id})
    loan = await desk.borrow(body.member_id, book_id=body.book_id, barcode=body.barcode)
    response.headers.update({"Location": f"/v1/loans/{loan.id}", **loans.router.etag(request, loan)})
    return loan


@loans.router.post("/{id}:return", summary="Return", response_model=Returned, responses=ACT, openapi_extra=IF_MATCH)
@minds_rows
async def give_back(request: Request, loan_id: Id, desk: Desk, theirs: Theirs, match: Meant) -> dict[str, Any]:
    """End a loan. The copy is set aside for the next in line, or stands on the shelf again."""
    loan, hold = await desk.give_back(loan_id, theirs.values.get("member_id"), match)
    seen = hold is not None and needed("holds", "GET").open_to(caller_of(request.scope).scopes) and not theirs.hide(hold)
    return {"loan": loan, "hold": hold if seen else None}


@loans.router.post(
    "/{id}:renew",
    summary="Renew",
    response_model=LoanRead,
    responses={200: openapi.ETAGGED} | ACT | responses(PreconditionRequired),
    openapi_extra={"parameters": [openapi.if_match(loans.router.table.demands)]},
)
@minds_rows
async def renew(*, request: Request, loan_id: Id, desk: Desk, theirs: Theirs, match: Wanted, response: Response) -> Loan:
    """Put off a loan's return, unless somebody waits for the book."""
    loan = await desk.renew(loan_id, theirs.values.get("member_id"), match)
    response.headers.update(loans.router.etag(request, loan))
    return loan


@holds.router.post("", summary="Place a hold", status_code=201, response_model=HoldPlaced, responses=MADE | WRITE)
@minds_rows
async def place(request: Request, body: HoldWrite, desk: Desk, theirs: Theirs, response: Response) -> dict[str, Any]:
    """Let a member wait for a book. A copy on the shelf is set aside for them at once."""
    theirs.check({"member_id": body.member_id})
    placed = await desk.place(body.member_id, body.book_id)
    response.headers.update({"Location": f"/v1/holds/{placed.hold.id}", **holds.router.etag(request, placed.hold)})
    return HoldRead.model_validate(placed.hold).model_dump() | {"place": placed.place}


@holds.router.delete(
    "/{id}", summary="Cancel a hold", status_code=204, response_class=Response, responses=ACT, openapi_extra=IF_MATCH
)
@minds_rows
async def cancel(hold_id: Id, desk: Desk, theirs: Theirs, match: WantedHold) -> Response:
    """End a hold. The copy that was set aside for it goes to the next in line."""
    await desk.cancel(hold_id, theirs.values.get("member_id"), match)
    return Response(status_code=204)


@books.router.get(
    "/{id}/availability", summary="Whether a book can be had", response_model=Availability, responses=ONE | responses(*BUSY)
)
async def show_availability(book_id: Id, desk: Desk) -> Availability:
    """Count a book's copies and those who wait for it, and say when the next copy is due."""
    return await availability(desk.database, book_id)
