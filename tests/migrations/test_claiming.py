"""An index is ours if a model has had it or a revision has made it; any other is left alone."""

import pytest

from service.errors import SetupError
from service.migrations import building
from service.migrations.recording import recorded
from tests.migrations.changes import model, new, nothing, of
from tests.migrations.conftest import Inside, Sql
from tests.migrations.projects import Project

BROKEN = "def downgrade() -> None:"


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No service runs here that would have to be waited for."""
    monkeypatch.setattr(building, "WITHDRAWN_SECONDS", 0.0)


def test_an_index_made_outside_is_left_alone(project: Project, sql: Sql, caplog: pytest.LogCaptureFixture) -> None:
    project.build(model(of("name")))
    sql("CREATE INDEX by_hand ON the_shelves (width)")
    with caplog.at_level("INFO", logger="service.migrations"):
        assert project.differences(model(of("name"))) == []
        assert "index by_hand of the_shelves is left alone" in caplog.text
        assert project.differences(model(nothing)) == ["Index ix_the_shelves of the_shelves is in no model."]


def test_one_over_a_column_that_goes_is_told_with_the_line_that_removes_it(
    project: Project, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    project.build(model(new("room")))
    sql("CREATE INDEX by_hand ON the_shelves (room)")
    project.revisions(model(nothing))
    assert "op.remove_index('by_hand', 'the_shelves')" in caplog.text
    with pytest.raises(
        SetupError, match=r"The index by_hand covers the column room .* op.remove_index\('by_hand', 'the_shelves'\)"
    ):
        project.upgrade(model(nothing))
    assert sql("SELECT indexrelid FROM pg_index WHERE indexrelid = 'by_hand'::regclass")


def test_an_index_that_an_older_revision_made_is_ours_though_no_model_ever_named_it_here(project: Project, sql: Sql) -> None:
    project.revise(model(of("name")))
    project.upgrade(model(nothing))
    assert project.differences(model(nothing)) == ["Index ix_the_shelves of the_shelves is in no model."]
    project.build(model(nothing))
    assert project.differences(model(nothing)) == []


def test_so_is_one_built_or_renamed_concurrently(project: Project, inside: Inside) -> None:
    project.build(model(nothing))
    project.revisions(model(of("name")))
    project.upgrade(model(nothing))
    assert (None, "ix_the_shelves") in inside(recorded)
    project.downgrade(model(nothing), "-1")
    project.upgrade(model(of("name")))
    project.revisions(model(of("name", name="b")))
    project.upgrade(model(nothing))
    assert project.differences(model(nothing)) == ["Index b of the_shelves is in no model."]


def test_a_revision_that_fails_claims_nothing(project: Project, inside: Inside) -> None:
    written = project.revise(model(of("name")))
    written.write_text(written.read_text().replace(BROKEN, f"    op.execute('SELECT 1/0')\n\n\n{BROKEN}"))
    with pytest.raises(Exception, match="division by zero"):
        project.upgrade(model(nothing))
    assert inside(recorded) == frozenset()
