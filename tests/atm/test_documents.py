"""Files that people write by hand: what has two meanings, another type or no end is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atm import foreign, threat
from atm.channels import parse
from atm.errors import AtmError
from atm.policy import MergePolicy
from defenses import create

POLICY = "thresholds: [0.9, 0.9, 0.9]\n"
REFUSED = {
    "name: no": "name is False, expected text; a word such as no or yes needs quotes",
    "name: 5": "name is 5",
    "name: [a]": "name is ['a']",
    'name: "a\\0b"': "characters that print",
    'name: "\\e[31mRED\\e]0;x\\a"': "characters that print",
    f"name: {'a' * 101}": "1 to 100 characters",
    'exit_layer: "3"': "exit_layer is '3', expected a whole number",
    "exit_layer: 2.5": "exit_layer is 2.5",
    "exit_layer: true": "exit_layer is True",
    "remove: 5": "remove is 5, expected a list",
    "remove: [1, 2.5, 0]": "remove[1] is 2.5",
    'proportional_attention: "false"': "proportional_attention is 'false', expected true or false",
    'proportional_attention: "no"': "proportional_attention is 'no'",
    "thresholds: [0.5, 0.5, 0.5]": "'thresholds' stands twice",
    "match: vlaue": "did you mean 'value'?",
    "foo: 1": "unknown field 'foo'",
}
THRESHOLDS = {
    "[1" + "0" * 400 + "]": "expected a number",
    "[1" + "0" * 5000 + "]": "neither YAML nor JSON",
    "[" * 3000 + "]" * 3000: "nested too deeply",
    '["0.5"]': "thresholds[0] is '0.5'",
    "[true]": "thresholds[0] is True",
    "0.5": "expected a list",
}


def refusal(read, path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(AtmError) as caught:
        read(path)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 400, message
    return message


@pytest.mark.parametrize(("line", "said"), REFUSED.items())
def test_policies_that_are_only_nearly_right_are_refused(tmp_path, line, said):
    assert said in refusal(MergePolicy.read, tmp_path / "p.yaml", POLICY + line)


@pytest.mark.parametrize(("thresholds", "said"), THRESHOLDS.items(), ids=lambda text: text[:12])
def test_thresholds_are_numbers(tmp_path, thresholds, said):
    assert said in refusal(MergePolicy.read, tmp_path / "p.yaml", f"thresholds: {thresholds}")


@pytest.mark.parametrize(
    "line",
    ["name: 5", "knows: weights", "queries: '50'", "queries: 50.0", "shifted: 'no'", "tap: [server]", "auxiliary: yes"],
)
def test_threat_models_that_are_only_nearly_right_are_refused(tmp_path, line):
    assert line.split(":")[0] in refusal(lambda path: threat.load(str(path)), tmp_path / "t.yaml", f"{line}\n")


def test_numbers_as_json_and_yaml_1_2_write_them(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("thresholds: [1e-1, 1E0, 5.e-1, 1, 0]")
    assert MergePolicy.read(path).thresholds == (0.1, 1.0, 0.5, 1.0, 0.0)
    path.write_text('{"thresholds": [1e-1], "name": "1e5"}')
    assert MergePolicy.read(path).name == "1e5"


def test_a_document_that_grows_when_it_is_repeated_is_shown_shortly(tmp_path):
    layers = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}' if n else '1'] * 9)}]" for n in range(9))
    text = f"thresholds: {{{', '.join(line.replace(': &', ': &') for line in layers.splitlines())}}}"
    assert "thresholds" in refusal(MergePolicy.read, tmp_path / "p.yaml", text)


def test_a_file_too_large_to_be_written_by_hand(tmp_path):
    assert "larger than 1 MiB" in refusal(MergePolicy.read, tmp_path / "p.yaml", "#" * (foreign.LARGEST + 1))


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_no_text_escapes_as_another_error(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("documents") / "p.yaml"
    path.write_bytes(text.encode(errors="replace"))
    for read in (MergePolicy.read, lambda path: threat.load(str(path))):
        try:
            read(path)
        except AtmError as error:
            assert "\n" not in str(error)


@given(st.floats(allow_nan=False).filter(lambda snr: abs(snr) > 200))
def test_an_snr_beyond_all_radios_is_refused(snr):
    with pytest.raises(AtmError, match="awgn"):
        parse(f"awgn:{snr}")


@pytest.mark.parametrize("defence", ["gaussian:1e300", "laplace:1001", "pad:1000000000", "pad:1.5"])
def test_defences_beyond_all_sense_are_refused(defence):
    with pytest.raises(AtmError, match=defence.partition(":")[0]):
        create(defence)
