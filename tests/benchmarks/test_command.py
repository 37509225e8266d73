"""Every benchmark says what its options are, and answers bad input in one line and with exit code 2."""

from __future__ import annotations

import argparse
import importlib
import runpy
from pathlib import Path

import pytest

from atm.errors import AtmError
from atm.victims import load_victim
from benchmarks import command
from benchmarks.command import Parser

FOLDER = Path(command.__file__).parent
COMMANDS = sorted(path.stem for path in FOLDER.glob("*.py") if '"__main__"' in path.read_text(encoding="utf-8"))


@pytest.fixture
def ended(monkeypatch, capsys, tmp_path):
    """Runs a benchmark as ``python -m`` does, and gives its exit code and what it wrote to either stream."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", [f"benchmarks.{name}", *words])
        with pytest.raises(SystemExit) as end, pytest.warns(RuntimeWarning):
            runpy.run_module(f"benchmarks.{name}", run_name="__main__")
        return int(end.value.code or 0), *capsys.readouterr()

    return run


def asked_of(name: str, monkeypatch) -> Parser:
    """The options of a benchmark, which is not run."""
    found = []

    def parse(self: Parser, *_: object) -> None:
        found.append(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(Parser, "parse_args", parse)
    with pytest.raises(KeyboardInterrupt):
        importlib.import_module(f"benchmarks.{name}").main()
    return found[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_each_option_is(name, monkeypatch):
    parser = asked_of(name, monkeypatch)
    assert parser.prog == f"python -m benchmarks.{name}" and parser.description and parser.format_help()
    assert [action.dest for action in parser._actions if not action.help] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_option_ends_in_one_line(name, ended):
    code, out, err = ended(name, "--colour", "red")
    assert (code, out, err.count("\n")) == (2, "", 1) and err.startswith("error: "), err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("asked_photographs a.tar b.tar c.tar out", "a.tar cannot be read as a tar file"),
        ("attacks --victim nobody --images 4 --peer", "unknown victim 'nobody'"),
        ("attacks --rows none.jsonl", "none.jsonl cannot be read"),
        ("attacks --images many", "'many' is no whole number above 0"),
        ("attacks --victim vit_photos vit_cifar10", "give a --data for each victim"),
        ("choices --victim nobody", "unknown victim 'nobody'"),
        ("controller --trace none.csv", "none.csv cannot be read"),
        ("controller --policy nonsense", "nonsense"),
        ("controller --victim nobody", "unknown victim 'nobody'"),
        ("defended --victim nobody --data photos", "unknown victim 'nobody'"),
        ("defended --victim vit_photos --data photos --attack rigde", "did you mean 'ridge'"),
        ("defended --defense nonsense", "nonsense"),
        ("defended --data none.tar", "none.tar"),
        ("defended --budget nan --data photos", "--budget nan"),
        ("defended --rows none.jsonl", "none.jsonl cannot be read"),
        ("deploy load --victim nobody", "unknown victim 'nobody'"),
        ("deploy stages --policy nonsense --exit-layer 2", "nonsense"),
        ("deploy stages --exit-layer 99", "99"),
        ("deploy neither", "invalid choice: 'neither'"),
        ("engine --models nothing", "unknown model 'nothing'"),
        ("engine --models .", "needs --data"),
        ("engine --saved 2", "'2' is no number from 0 to below 1"),
        ("engine --clock cpu --threads 2", "--clock cpu counts one thread only"),
        ("hardware --victim nothing --weights random", "unknown timm model 'nothing'"),
        ("hardware --victim nobody", "unknown victim 'nobody'"),
        ("hardware --policies 2", "--policies 2"),
        ("link --victims nobody", "unknown victim 'nobody'"),
        ("link --channel tin", "tin"),
        ("link --repeats 0", "'0' is no whole number above 0"),
        ("merging --victim nobody", "unknown victim 'nobody'"),
        ("merging --data none.tar", "none.tar"),
        ("methods --victim nobody", "unknown victim 'nobody'"),
        ("methods --saves 1", "'1' is no number from 0 to below 1"),
        ("mutants reports/levl", "did you mean 'reports/level'"),
        ("onward --victim nobody", "unknown victim 'nobody'"),
        ("onward --more 0", "'0' is no whole number above 0"),
        ("recognition --recogniser nobody", "nobody"),
        ("recognition --run none", "none"),
        ("search --victim nobody", "unknown victim 'nobody'"),
        ("search --images 1 --only hypervolume", "--images 1 are too few"),
        ("search --only reach --held-out 0", "--held-out 0"),
        ("search --method nonsense", "invalid choice: 'nonsense'"),
        ("search_cost --evals none", "'none' is no whole number above 0"),
        ("splits --victim nobody", "unknown victim 'nobody'"),
        ("splits --exits 0", "'0' is no whole number above 0"),
        ("splits --exits 99 --images 4 --auxiliary 20", "--exits 99: victim 'vit_photos' has 6 layers"),
        ("splits --finished --out none", "none"),
        ("splits --rows none.jsonl", "none.jsonl cannot be read"),
        ("splits --attack rigde", "did you mean 'ridge'"),
        ("splits --threat nobody", "nobody"),
        ("still --victim nobody", "unknown victim 'nobody'"),
        ("still --her-channel tin --images 4 --auxiliary 20", "tin"),
        ("still --frames 0", "'0' is no whole number above 0"),
    ],
)
def test_bad_input_ends_in_one_line(words, said, ended):
    code, out, err = ended(*words.split())
    assert (code, err.count("\n")) == (2, 1) and err.startswith("error: ") and said in err, err
    assert out.count("\n") <= 2, "at most the head of a table"


def test_the_layers_that_splits_cuts_after_are_there_in_its_victim(monkeypatch):
    parser = asked_of("splits", monkeypatch)
    assert max(parser.get_default("exits")) <= load_victim(parser.get_default("victim")).encoder.depth


def test_a_fault_of_ours_is_told_apart_from_bad_input(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmarks.none"])
    for fault, code, said in ((ZeroDivisionError(), 1, "this is a bug"), (KeyboardInterrupt(), 130, "stopped\n")):

        def main(fault: BaseException = fault) -> None:
            raise fault

        with pytest.raises(SystemExit) as end:
            command.run(main)
        err = capsys.readouterr().err
        assert end.value.code == code and said in err and err.count("\n") == 1 and "--resume" not in err
    monkeypatch.setattr("sys.argv", ["benchmarks.none", "--debug"])
    with pytest.raises(ZeroDivisionError):
        command.run(lambda: 1 // 0)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "many", "²", "1e3"])
def test_how_many_is_a_whole_number_above_0(text):
    assert command.positive("1") == 1 and command.positive("007") == 7
    with pytest.raises(argparse.ArgumentTypeError, match="no whole number above 0"):
        command.positive(text)


@pytest.mark.parametrize("text", ["1", "-0.1", "nan", "inf", "half"])
def test_a_fraction_is_below_1(text):
    assert command.fraction("0") == 0 and command.fraction("0.99") == 0.99
    with pytest.raises(argparse.ArgumentTypeError, match="no number from 0 to below 1"):
        command.fraction(text)


def test_what_a_parser_refuses_is_bad_input():
    with pytest.raises(AtmError, match="--colour"):
        Parser("none", "A summary.\n\nThe rest.").parse_args(["--colour"])
    asked = Parser("none", "A summary.\n\nThe rest.")
    assert asked.description == "A summary." and asked.epilog == "The rest."
