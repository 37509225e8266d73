"""The words of the field, each explained once: in docs/glossary.md, and on every page where a word is used.

What a kind of signal has words of its own for stands in braces (`reports.words`).

``python -m reports.terms`` prints docs/glossary.md.
"""

from __future__ import annotations

import re
import textwrap

from atm.signals import ImageSignal, Signal
from reports.words import words_of

WIDTH = 120  # of a line of the glossary
SECTIONS: dict[str, dict[str, str]] = {
    "The system": {
        "victim": "the vision transformer under attack, whose first layers run on the device and whose last run on the "
        "server.",
        "policy": "which tokens the device merges at each layer, and after which layer it sends (the *exit layer*).",
        "threshold": "how alike two tokens of a layer must be to be merged; 1 merges nothing.",
        "token": "what stands for one {part} or, after merging, for several. The *class token* and its like are "
        "*protected*: they are never merged.",
        "merge map": "which token each {part} ended in.",
        "GFLOPs": "billions of floating-point operations that the device spends on a {noun}.",
        "codec": "makes channel symbols out of tokens, and tokens out of symbols. *Side information* is what it sends "
        "beside them.",
        "symbols": "complex numbers that are sent over the channel for a {noun}: the bandwidth.",
        "SNR": "signal-to-noise ratio of a channel in decibels (dB): 10 dB more is a tenth of the noise.",
        "wire": "the table of everything that is sent, how it is protected and who sees it. What is not a symbol "
        "travels in the *header*, which is taken to arrive without error.",
        "bucket": "frames are padded to a multiple of so many tokens, so that their length tells less.",
        "defence": "what the device does to its tokens before they are coded.",
        "canary": "the first layer, unmerged, undefended and without noise, attacked in every run. It must leak; where "
        "it does not, the evaluation is broken.",
    },
    "The adversary": {
        "threat model": "where she listens (the *tap*) and what she knows.",
        "eavesdropper": "an adversary who hears the channel, beside the server that is meant to.",
        "oracle": "her side of the system, and the only thing that an attack is handed: exactly what her threat model "
        "grants.",
        "query": "a {noun} that she sends through a device that is not her own; a *query budget* is how many she may "
        "send.",
        "observation": "what she sees of some {noun}s.",
        "auxiliary set": "her own {noun}s, none of which is attacked. The *held-out* tenth of them chooses parameters "
        "and checkpoints.",
        "attack": "rebuilds {noun}s from what the adversary sees.",
        "inference": "an attack that concludes something else than a {noun}: a label, which of some candidates it "
        "was, or the answer to a question of her own.",
        "blind baseline": "an attack that reads no token, so that what it reaches is no leak: {blind}.",
        "retrieval": "answering with a {noun} that one has, instead of rebuilding one (`{retrieval}`).",
    },
    "The run": {
        "budget": "seconds that choose, before a loop's first step, how many steps it takes. The choice is kept in "
        "`steps.jsonl`, and `--replay` takes it again; a budget is no limit on time.",
        "repeat": "every attack fitted and every {noun} sent once more, with other seeds and channel draws.",
        "secret": "the seed of what the device and the channel draw. No oracle tells it.",
        "card": "a run's result in one small file (`card.json`), without {noun}s; `atm leaderboard` sets many side by "
        "side.",
    },
    "The judgement": {
        "SSIM": "structural similarity of two pictures: 1 is a perfect copy, about 0 is nothing in common.",
        "PSNR": "peak signal-to-noise ratio of a rebuilt {noun} in decibels (dB); higher is nearer to the original.",
        "LPIPS": "distance of two pictures as a neural network perceives it; lower is nearer to the original.",
        "DISTS": "distance of two pictures in structure and texture, as a neural network perceives it; lower is "
        "nearer to the original.",
        "spectrogram SSIM": "SSIM of two sounds' spectrograms over the frames in which the original is heard; it is "
        "the leakage of sounds, which are recognisable from 0.65 on.",
        "mel cepstral distortion": "how far two sounds are apart in timbre, in decibels (dB); lower is nearer to the "
        "original.",
        "STOI": "short-time objective intelligibility of a rebuilt sound: about 0 is noise, 1 is as clear as the "
        "original.",
        "word error rate": "words of a transcript that are wrong, missing or too many, as a share of those that were "
        "said: 0 is a perfect transcript; there may be more errors than words.",
        "ROUGE-L": "how much of a sentence was recovered in its order: F1 of the longest common subsequence of words; "
        "1 is a perfect copy. It is the leakage of sentences, which are recognisable from 0.5 on.",
        "recogniser": "a pretrained model, not the victim, that looks at what was rebuilt (`--recogniser`). It sees no "
        "colours, and *picks out* a {noun} that is told from up to 99 others by its reconstruction, and the "
        "reconstruction from all others by it. *Likeness* is the cosine of its features of the two.",
        "likeness": "the cosine of a recogniser's features of a reconstruction and of its original, both without "
        "colours.",
        "placer": "what tells where tokens belong whose order is hidden, trained once for a victim "
        "(`atm train placer`).",
        "membership": "whether a {noun} that the adversary holds was among those that were sent.",
        "leakage": "for each {noun} the best {measure} that any attack reached, averaged over {noun}s.",
        "interval": "where the true value lies with 95% confidence, in brackets behind an estimate.",
        "rebuilt": "answered by an attack with a {noun}, well or badly; how well is told by {measure}.",
        "recognisable": "rebuilt to {recognisable} {measure} or more.",
        "recognised": "recognisable, and at least {owed} {measure} better than any blind baseline makes it; or picked "
        "out by a recogniser. A {noun} that is recognised counts as leaked.",
        "near copy": "rebuilt to {near_copy} {measure} or more, at least {clear} better than a blind baseline.",
        "effect size": "a difference in units of its own spread (Cohen's d, paired): 0.2 is small, 0.8 large.",
        "p-value": "how often chance alone would show as much; *corrected* (Holm) where several are read together.",
        "finding": "what was judged of one thing that tokens can give away: {content}, the label, identity, "
        "membership, the answers to her own questions, retrieval, position, traffic.",
        "verdict": "the gravest finding on a policy: `beats the bound`, `leaks`, `leaks in part`, `inconclusive`, "
        "`no leak found`, or `hers anyway` for what this adversary is told or is meant to learn.",
        "flag": "a reason to disbelieve a harmless verdict ([flags.md](flags.md)). It never softens a leak.",
        "bound": "a least error that no attack can beat, proved under assumptions that may not hold.",
        "secrecy gap": "leakage to the server less leakage to the eavesdropper.",
        "expected": "leakage that the full suite would find in a policy that it did not attack, as a search foretells "
        "it from those that it did. `atm pick` holds the upper end of its interval against bounds.",
        "front": "the policies of a search that no other policy beats in every objective at once (Pareto).",
        "hypervolume": "how much of the space of objectives a front covers; more is better.",
        "self-check": "planted systems whose right verdict is known, judged as every other system is "
        "(`atm selfcheck`).",
    },
}
TERMS: dict[str, str] = {name: words for terms in SECTIONS.values() for name, words in terms.items()}


def plain_words(name: str, signal: type[Signal] = ImageSignal) -> str:
    """A term's explanation without Markdown, in the words of a kind of signal."""
    words = TERMS[name].format_map(words_of(signal))
    return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", words).replace("*", "").replace("`", "")


def in_short(name: str, signal: type[Signal] = ImageSignal) -> str:
    """Its first sentence, on one line."""
    return re.split(r"(?<=\.)\s", plain_words(name, signal), maxsplit=1)[0]


def document() -> str:
    """The page docs/glossary.md, in the words of pictures."""
    parts = ["# Glossary\n", textwrap.fill(
        "The words of this project, as its code, its reports and its documentation use them. This page is printed by "
        "`python -m reports.terms`.", WIDTH, break_on_hyphens=False
    ) + "\n"]  # fmt: skip
    of_pictures = words_of(ImageSignal)
    for section, terms in SECTIONS.items():
        lines = [
            textwrap.fill(f"- **{name}**: {words.format_map(of_pictures)}", WIDTH, subsequent_indent="  ",
                          break_on_hyphens=False, break_long_words=False)
            for name, words in terms.items()
        ]  # fmt: skip
        parts.append(f"**{section}**\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(document(), end="")
