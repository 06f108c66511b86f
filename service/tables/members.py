"""Members: one row for each person who may borrow."""

from sqlalchemy import Identity, Index, select
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Model, Repository, folded
from service.errors import ValueRefused
from service.http import Schema, serve


class Member(Model):
    """The table, and the questions it answers."""

    __tablename__ = "members"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    email: Mapped[str] = mapped_column()
    name: Mapped[str] = mapped_column()

    unique_email = Index("uq_members_email", folded(email), unique=True)
    search_name = Index(
        "ix_members_search_name", folded(name).label("folded"), postgresql_using="gin", postgresql_ops={"folded": "gin_trgm_ops"}
    )


class MemberWrite(Schema):
    """What a client sends."""

    email: str
    name: str


class MemberRead(MemberWrite):
    """What a client gets back."""

    id: int


class Members(Repository[Member]):
    """Queries with a name. Each one says which index it rides on."""

    async def by_email(self, email: str) -> Member | None:
        """The member with this address, whatever its case."""
        return await self.one(Member.unique_email, email__folded=email)

    async def lock(self, member_id: int) -> None:
        """Let nobody else lend to this member, or place a hold for them, until the unit of work ends.

        Raises:
            ValueRefused: there is no such member.
        """
        async with self.database.writing() as unit:
            member = select(Member.id).where(Member.id == member_id).with_for_update(key_share=True)
            if await unit.session.scalar(member) is None:
                raise ValueRefused("member_id refers to a member that doesn't exist. Enter them first.", fields=["member_id"])


router = serve(Members, at="/members", read=MemberRead, write=MemberWrite, within={"member_id": "id"})
