<%!
    def several(revisions):
        return (revisions,) if isinstance(revisions, str) else tuple(revisions or ())

    def lines(commands):
        """Without Alembic's markers, and without a `pass` that the docstring makes superfluous."""
        kept = [line for line in (commands or "").splitlines() if not line.strip().startswith("# ###") and line.strip() != "pass"]
        return "\n".join(kept).strip()
%><%
    forward, back = lines(upgrades), lines(downgrades)
    body = forward + back
    libraries = (["import sqlalchemy as sa"] if "sa." in body else []) + (imports or "").splitlines()
    own = ["from service.migrations import op"] if "op." in body else []
    title = message.rstrip(".!? ") if message else "A migration"
%>"""${title}.

Revision: ${up_revision}
Follows: ${", ".join(several(down_revision)) or "nothing"}
Written: ${create_date.strftime("%Y-%m-%d %H:%M")} UTC
"""

% if libraries:
${"\n".join(libraries)}

% endif
% if own:
${"\n".join(own)}

% endif
revision: str = ${repr(up_revision)}
down_revision: str | tuple[str, ...] | None = ${repr(down_revision)}
branch_labels: str | tuple[str, ...] | None = ${repr(branch_labels)}
depends_on: str | tuple[str, ...] | None = ${repr(depends_on)}


def upgrade() -> None:
    """Go forward."""
% if forward:
    ${forward}
% endif


def downgrade() -> None:
    """Go back."""
% if back:
    ${back}
% endif
