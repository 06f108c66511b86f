"""Records out of CSV and NDJSON, the unreadable ones with the line they begin at and a sentence."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import SetupError
from service.jobs import reading
from service.jobs.opening import LINE_BYTES, Format, opened
from service.jobs.reading import LONG_RECORD, NAMES_MOST, Record, records

QUOTATION = "a quotation mark is not closed within 131,072 characters, or text follows a closing one"
no_lone_surrogates = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


def read(folder: Path, content: bytes, form: Format = "csv") -> list[Record]:
    path = folder / "file"
    path.write_bytes(content)
    file = opened(path, form)
    try:
        return list(records(file))
    finally:
        file.close()


def told(found: list[Record]) -> list[tuple[int, list[Any] | str]]:
    """Line and values of each record, or line and fault."""
    return [(record.line, record.fault or list(record.values)) for record in found]


@pytest.mark.parametrize("separator", [b",", b";", b"\t", b"|"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_separators_and_line_ends(tmp_path: Path, separator: bytes, end: bytes) -> None:
    content = end.join([b"a,b", b'1,"x ""y"""', b"", b"3,", b""]).replace(b",", separator)
    assert told(read(tmp_path, content)) == [(2, ["1", 'x "y"']), (4, ["3", ""])]


def test_a_field_may_span_lines(tmp_path: Path) -> None:
    found = read(tmp_path, b'a,b\n1,"two\r\nlines"\n2,x\n')
    assert told(found) == [(2, ["1", "two\r\nlines"]), (4, ["2", "x"])]
    assert b"".join(found[0].raw) == b'1,"two\r\nlines"\n'


def test_ragged_lines_say_how_many_fields(tmp_path: Path) -> None:
    assert told(read(tmp_path, b"a,b\n1\n1,2,3\n1,2\n")) == [
        (2, "2 fields are expected, 1 found"),
        (3, "2 fields are expected, 3 found"),
        (4, ["1", "2"]),
    ]


def test_a_stray_quotation_mark_takes_no_neighbours_with_it(tmp_path: Path) -> None:
    found = told(read(tmp_path, b'a,b\n1,"stray\n' + b"2,x\n" * 3 + b'5,"fine"\n'))
    assert found[0] == (2, QUOTATION)
    assert found[1:] == [(3, ["2", "x"]), (4, ["2", "x"]), (5, ["2", "x"]), (6, ["5", "fine"])]


def test_a_quotation_mark_that_never_closes(tmp_path: Path) -> None:
    rows = b"2,x\n" * (csv.field_size_limit() // 4 + 10)
    found = told(read(tmp_path, b'a,b\n1,"open\n' + rows))
    assert found[0] == (2, QUOTATION)
    assert {tuple(values) for _, values in found[1:]} == {("2", "x")}
    assert found[-1][0] == rows.count(b"\n") + 2


def test_a_record_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line closes a quoted field and opens another one: no field is long."""
    monkeypatch.setattr(reading, "RECORD_BYTES", 1000)
    found = told(read(tmp_path, b'a,b\n1,"\n' + b'","\n' * 1000 + b'","x"\n2,x\n'))
    assert found[0] == (2, LONG_RECORD)
    assert found[-1] == (1004, ["2", "x"])


def test_stray_quotation_marks_have_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that leaves the reader inside quotes, whether it began there or not: each record runs as far as it may."""
    monkeypatch.setattr(reading, "RECORD_BYTES", 1000)
    monkeypatch.setattr(reading, "AGAIN_BYTES", 10_000)
    with pytest.raises(SetupError, match=r"too many quotation marks that are not closed; one of them is in line 1\d\."):
        read(tmp_path, b"a,b\n" + b'x","\n' * 1000)
    assert len(read(tmp_path, b"a,b\n" + (b'1,"stray\n' + b"2,x\n" * 500) * 20)) == 20 * 501


def test_blank_lines_before_the_header_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "RECORD_BYTES", 100)
    assert told(read(tmp_path, "\u00a0\n".encode() * 200 + b"a,b\n1,2\n")) == [(202, ["1", "2"])]


def test_names_are_not_without_number(tmp_path: Path) -> None:
    most = ",".join(["a"] * NAMES_MOST).encode()
    assert read(tmp_path, most + b"\n") == []
    with pytest.raises(SetupError, match=r"names 2,001 columns\. 2,000 is the most"):
        read(tmp_path, most + b",a\n")
    names = json.dumps({str(number): 0 for number in range(NAMES_MOST + 1)}).encode()
    assert told(read(tmp_path, names + b'\n{"a": 1}\n', "ndjson")) == [(1, "it has 2,001 members; 2,000 is the most"), (2, [1])]


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    found = told(read(tmp_path, "a,b\n1,é\n".encode("latin-1") + "2,é\n".encode()))
    assert found == [(2, "byte 3 of the line (0xe9) is not UTF-8; save the file as UTF-8"), (3, ["2", "é"])]


def test_nul_and_absurd_lines(tmp_path: Path) -> None:
    far = b"a,b\n" + b"1,2\n" * 3000  # beyond what is looked at when the file is opened
    found = told(read(tmp_path, far + b"1,\0\n1," + b"x" * LINE_BYTES + b"\n1,2\n"))
    assert [values for _, values in found[-3:]] == [
        "it contains a NUL character, which the database can't keep",
        "a line is longer than 1,000,000 bytes",
        ["1", "2"],
    ]


def test_a_bomb_is_read_in_pieces(tmp_path: Path) -> None:
    bomb = gzip.compress(b"a,b\n" + b"x" * 50_000_000)
    assert told(read(tmp_path, bomb)) == [(2, "a line is longer than 1,000,000 bytes")]


@pytest.mark.parametrize("header", ["é,b\n".encode("latin-1"), b"a\rb\rc", b"x" * (LINE_BYTES + 1)])
def test_a_header_that_cannot_be_read_stops_everything(tmp_path: Path, header: bytes) -> None:
    with pytest.raises(SetupError, match="header line can't be read"):
        read(tmp_path, header)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(no_lone_surrogates, min_size=3, max_size=3).filter(lambda row: "".join(row).strip()), max_size=6))
def test_what_the_library_writes_is_read_again(tmp_path: Path, rows: list[list[str]]) -> None:
    path = tmp_path / "written.csv"
    with path.open("w", encoding="utf-8", newline="") as target:
        csv.writer(target, quoting=csv.QUOTE_ALL).writerows([["a", "b", "c"], *rows])
    assert [list(record.values) for record in read(tmp_path, path.read_bytes())] == rows


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200).filter(lambda content: b"\0" not in content))
def test_no_bytes_break_it_and_no_line_is_lost(tmp_path: Path, content: bytes) -> None:
    found = read(tmp_path, b"a,b\n" + content + b"\n")
    assert [record.line for record in found] == sorted({record.line for record in found})
    kept = b"".join(line for record in found for line in record.raw)
    lines = b"".join(line for line in (content + b"\n").splitlines(keepends=True))
    assert kept.replace(b"\n", b"").strip() in lines.replace(b"\n", b"") or len(kept) <= len(lines)


def test_objects_of_json(tmp_path: Path) -> None:
    found = read(tmp_path, b'{"a": 1, "b": [1, {"c": null}]}\n\n{"b": "\\u00e9"}', "ndjson")
    assert told(found) == [(1, [1, [1, {"c": None}]]), (3, ["é"])]
    assert [record.headers for record in found] == [("a", "b"), ("b",)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"[1, 2]", "no object"),
        (b"7", "no object"),
        (b'{"a": ', "can't be read as JSON"),
        (b'{"a": "\\ud800"}', "can't be read as JSON"),
        (b'{"a": "\xe9"}', "can't be read as JSON"),
        (b'{"a": "\\u0000"}', "NUL"),
        (b'{"a": NaN}', "can't be read as JSON"),
        (b'{"a":' * 2000 + b"1" + b"}" * 2000, "can't be read as JSON"),
        (b'{"a": "' + b"x" * LINE_BYTES + b'"}', "longer than 1,000,000 bytes"),
    ],
)
def test_lines_that_are_no_objects(tmp_path: Path, line: bytes, reason: str) -> None:
    found = read(tmp_path, b'{"a": 1}\n' + line + b'\n{"a": 2}\n', "ndjson")
    assert [record.fault is None for record in found] == [True, False, True]
    assert reason in str(found[1].fault)


def test_a_nul_in_the_first_object_is_its_fault_alone(tmp_path: Path) -> None:
    first, second = told(read(tmp_path, b'{"a": "x\0y"}\n{"a": 1}\n', "ndjson"))
    assert (first[0], second) == (1, (2, [1]))
    assert str(first[1]).startswith("it can't be read as JSON")


def test_a_backslash_before_u0000_is_text(tmp_path: Path) -> None:
    (found,) = read(tmp_path, json.dumps({"a": "\\u0000"}).encode(), "ndjson")
    assert (found.fault, found.values) == (None, ("\\u0000",))
