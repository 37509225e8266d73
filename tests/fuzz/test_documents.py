"""Files that people write by hand: policies, threat models and experiments, with one thing in them wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import world
from tests.fuzz.amount import share
from tests.fuzz.commands import check
from tests.fuzz.damage import damaged
from tests.fuzz.texts import HUGE, texts

ATTACK = [*world.ACCEPTED["attack"]]
WORDS = {
    "policy.yaml": [*ATTACK, "--policy", "policy.yaml"],
    "threat.yaml": [*ATTACK, "--threat", "threat.yaml"],
    "attack.yaml": [*world.ACCEPTED["attack from a file"]],
    "sweep.json": ["sweep", "sweep.json", "--out", "out"],
}
# Text that some parser of YAML takes for more than it says.
SPECIAL = (
    "1:30", "0o17", "017", "2026-01-01", "!!python/object:os.system x", "!!binary aGk=", "!!set {a, b}", "!!int 'x'",
    "!unknown x", "<<: {a: 1}", ".nan", ".inf", "-.inf", "~", "yes", "Off", "{a: 1, a: 2}", "[" * 3000, "{a: " * 3000,
    "&a [*a]", "*missing", "? [a]\n: 1", "|\n  text", "'unclosed", '"\\ud800"', '"\\0"', '"\\x1b[31m"', "\t", "--- x",
    "%YAML 9.9", "1e999", "0x" + "f" * 400, HUGE, "[" + "1, " * 5000 + "1]", "a: b: c", "@", "`", "- x",
)  # fmt: skip


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, str, bool]:
    """A file's name, its text, and whether it must be refused."""
    name = draw(st.sampled_from(list(WORDS)))
    text = getattr(
        world, {"policy.yaml": "POLICY", "threat.yaml": "THREAT", "attack.yaml": "EXPERIMENT"}.get(name, "SWEEP")
    )
    content: dict[str, Any] = yaml.safe_load(text)
    how = draw(st.sampled_from(["value", "type", "special", "unknown", "twice", "item", "less"]))
    field = draw(st.sampled_from(sorted(content)))
    if how == "value":
        content[field] = draw(texts())
    elif how == "type":
        content[field] = draw(st.sampled_from([v for v in OTHERS if not _alike(v, content[field])]))
        return name, _written(content), True
    elif how == "item" and isinstance(content[field], list):
        items = content[field]
        items.insert(draw(st.integers(0, len(items))), draw(st.one_of(texts(), st.sampled_from(OTHERS))))
    elif how == "unknown":
        content[draw(texts()) + "?"] = 1
        return name, _written(content), True
    elif how == "less":
        del content[field]
    elif how == "twice":
        return name, f"{yaml.safe_dump(content)}{field}: {json.dumps(content[field])}\n", True
    else:
        del content[field]
        return name, f"{yaml.safe_dump(content)}{field}: {draw(st.sampled_from(SPECIAL))}\n", False
    return name, _written(content), False


OTHERS: tuple[Any, ...] = (True, False, 7, -1, 0.5, "text", [], [None], [[1]], {}, {"a": 1}, [True], ["x", 1], 10**30)
KINDS: tuple[Any, ...] = (bool, (int, float), str, list, dict)


def _alike(a: Any, b: Any) -> bool:
    """Whether two values are of one type, or so near that the one may stand for the other."""
    return any(isinstance(a, kind) and isinstance(b, kind) for kind in KINDS)


def _written(content: dict[str, Any]) -> str:
    try:
        return yaml.safe_dump(content, allow_unicode=True)
    except UnicodeError:
        return json.dumps(content)


@share(0.15)
@given(asked=documents())
def test_a_document_with_one_mistake(copies, asked):
    name, text, must_refuse = asked
    with copies(name) as folder:
        (folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        check(WORDS[name], folder, must_refuse=must_refuse)


@share(0.05)
@given(name=st.sampled_from(list(WORDS)), how=damaged())
def test_a_damaged_document(copies, name, how):
    with copies(name) as folder:
        how(folder / name)
        check(WORDS[name], folder)


def _levels(first: str, level: str, last: str) -> str:
    return "\n".join([first, *(level.format(a=f"a{i}", b=f"a{i + 1}") for i in range(40)), last])


@pytest.mark.parametrize(
    "text",
    [
        _levels("a0: &a0 [x]", "{b}: &{b} [*{a}, *{a}]", "name: *a40"),
        _levels("a0: &a0 {x: 1}", "{b}: &{b} {{<<: [*{a}, *{a}]}}", "name: *a40"),
        _levels("a0: &a0 [x]", "{b}: &{b} [*{a}, *{a}]", "? *a40\n: 1\n? *a40\n: 2"),
        "\n".join(f"key{i}: 1" for i in range(20_000)),
        "thresholds: [" + "[], " * 20_000 + "]",
        "thresholds: [" + "0.5, " * 20_000 + "]",
        "name: " + "x" * 1_000_000,
        "name: 'x\n" * 50_000,
        " " * 2_000_000,
    ],
    ids=["aliases", "merges", "alias as key", "many keys", "many wrong", "many right", "long", "open", "large"],
)
@pytest.mark.parametrize("name", ["policy.yaml", "attack.yaml"])
def test_a_document_that_grows_when_it_is_read(copies, name, text):
    with copies(name) as folder:
        (folder / name).write_text(text)
        check(WORDS[name], folder, must_refuse=True)
