"""Rows of benchmarks are printed and read in one way."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from atm.errors import AtmError
from benchmarks import attacks, defended, rows, splits


@dataclass(frozen=True)
class Pair:
    name: str
    interval: tuple[float, float]


def test_a_table_sets_numbers_to_the_right():
    found = rows.markdown(("policy", "saves: FLOPs", "tokens:"), [["none", "a", 3], ["some", "b", None]])
    assert found.splitlines() == [
        "| policy | saves: FLOPs | tokens |", "| --- | --- | ---: |", "| none | a | 3 |", "| some | b | None |",
    ]  # fmt: skip


def test_json_is_printed_row_by_row_and_a_table_at_the_end(capsys):
    def made():
        yield {"n": 1, "nan": float("nan")}
        assert capsys.readouterr().out == ('{"n": 1, "nan": NaN}\n' if as_json else "")
        yield {"n": 2}

    for as_json, last in ((True, '{"n": 2}\n'), (False, "2 rows\n")):
        rows.show(made(), as_json, lambda found: f"{len(found)} rows")
        assert capsys.readouterr().out == last


def test_a_stream_has_a_head_only_where_people_read_it(capsys):
    pairs = [Pair("a", (0.5, 1.0)), Pair("b", (0.0, 0.25))]
    assert rows.stream(pairs, False, lambda pair: rows.line([pair.name]), "| head |") == pairs
    assert capsys.readouterr().out == "| head |\n| a |\n| b |\n"
    rows.stream(pairs, True, lambda pair: pytest.fail("no line"), "| head |")
    read = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert read == [{"name": "a", "interval": [0.5, 1.0]}, {"name": "b", "interval": [0.0, 0.25]}]
    with pytest.raises(TypeError):
        rows.told([{"path": object()}], True)


def test_rows_are_read_from_several_files_of_which_some_may_be_empty(tmp_path):
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    first.write_text('{"n": 1}\n{"n": 2}\n')
    second.write_text("")
    assert rows.table_of([first, second], lambda found: str([row["n"] for row in found])) == "[1, 2]"
    with pytest.raises(AtmError, match=r"b\.jsonl: no rows"):
        rows.table_of([second], str)
    for content, said in (("[1]\n", "no JSON objects"), ("{\n", "no file of JSON lines"), ("\xff", "no file of JSON")):
        second.write_bytes(content.encode("latin-1"))
        with pytest.raises(AtmError, match=said):
            rows.table_of([first, second], str)
    with pytest.raises(AtmError, match="cannot be read"):
        rows.table_of([tmp_path], str)


@pytest.mark.parametrize("table", [attacks.tables, defended.table, splits.table])
def test_rows_of_another_benchmark_are_no_table(table, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"evaluations": 64}\n')
    with pytest.raises(AtmError, match=r"a row without '\w+' is none of this benchmark"):
        rows.table_of([path], table)
