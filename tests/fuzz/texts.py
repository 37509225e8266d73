"""Text that nobody should give: as a word of a command line, as a field of a file, as a name."""

from __future__ import annotations

from hypothesis import strategies as st

HUGE = "9" * 400
NUMBERS = (
    "0", "-1", "1", "2", "1.5", "-0", "1e308", "1e400", "-1e400", "nan", "inf", "-inf", "1e-320", "0x10", "1_000", "٣",
    "²", "+5", " 5", "99999999999999999999999", "-99999999999999999999999", "9223372036854775807",
    "9223372036854775808", "1000000000000", HUGE,
)  # fmt: skip
ODD = (
    "", " ", ".", "..", "/", "-", "--", "~", "~nobody/x", "none", "None", "null", "true", "a:b:c", ":", ",", "=", "+",
    "%", "*", "[x]", "[red]x[/]", "[/]", "{}", "{0}", "%s", "a/b", "../..", "/dev/null", "x" * 300, "y" * 5000,
    "é" * 200, "\x1b[31mRED\x1b]0;x\x07", "a\nb", "a\rb", "a\tb", "\u202eabc", "\udcff\udcfe", "name\udcff.yaml",
    "\ufeff", "🦆", "ａｔｍ", "no/such/file.yaml", "no.safetensors", "no.yaml", "no.tar",
)  # fmt: skip
GOOD = (
    "awgn:10", "rician:10,k=3", "rayleigh:5", "noiseless", "burst:10", "gaussian:0.5+drop:0.5", "quantize:4",
    "shuffle", "digital:10", "auto:16", "uncoded", "jscc", "0:20:5", "0,5,10", "accuracy=0.9", "tokens=30",
    "recognised<=5%", "leakage>=0.5", "224x160", "32", "uniform-0.8", "tome-4", "moderate", "server", "stranger",
    "eavesdropper:awgn:5", "black-box", "server-shifted", "photos", "ridge", "standard", "probe", "local", "auto",
    "leakage", "accuracy", "flops",
)  # fmt: skip


@st.composite
def spoilt(draw: st.DrawFn, good: tuple[str, ...] = GOOD) -> str:
    """A good text with one thing in it changed."""
    text = draw(st.sampled_from(good))
    at = draw(st.integers(0, len(text)))
    other = draw(st.sampled_from([*":,=+-.%x ", "\x1b", "é", "0", "9", *NUMBERS]))
    length = draw(st.integers(0, 3))
    return text[:at] + other + text[at + length :]


def texts() -> st.SearchStrategy[str]:
    """Any of them; no null byte, which no command line can hold."""
    free = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
    return st.one_of(*map(st.sampled_from, (NUMBERS, ODD, GOOD)), spoilt(), free)
