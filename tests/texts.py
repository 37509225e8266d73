"""Tiny text victims with random weights, their tokenizer, and sentences of its words."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from atm.bert import Bert
from atm.text_encoder import TextEncoder
from atm.words import Words
from privacy_metrics.words import NO_WORD

WORDS, WIDTH, LONGEST = 60, 32, 12  # of the vocabulary, special ones included


def tokenizer(words: int = WORDS):
    """One of whole words ``w4 w5 ...`` that puts [CLS] in front and [SEP] behind."""
    tokenizers = pytest.importorskip("tokenizers", reason="needs the extra 'hf'")
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{number}" for number in range(4, words))]
    vocabulary = {name: number for number, name in enumerate(names)}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    made.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return made


def tiny_bert(seed: int = 0, **options) -> Bert:
    torch.manual_seed(seed)
    shape = {"vocabulary": WORDS, "positions": 20, "width": WIDTH, "depth": 3, "heads": 4, "hidden": 64,
             "special": (2, 3), "num_classes": 2}  # fmt: skip
    model = Bert(**(shape | options)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@cache
def tiny_reader(seed: int = 0) -> TextEncoder:
    words = Words.of(tokenizer(), WORDS)
    return TextEncoder(tiny_bert(seed), words, LONGEST).eval().requires_grad_(False)


def sentences(count: int, seed: int = 0, shortest: int = 3, longest: int = LONGEST) -> Tensor:
    """``[count, LONGEST]`` of random words, common and rare ones, of every length."""
    random = torch.Generator().manual_seed(seed)
    share = 1 / torch.arange(1, WORDS - 3).float()
    words = 4 + torch.multinomial(share, count * LONGEST, replacement=True, generator=random).view(count, LONGEST)
    lengths = torch.randint(shortest, longest + 1, (count, 1), generator=random)
    return words.masked_fill(torch.arange(LONGEST) >= lengths, NO_WORD)


def save_transformers(folder: Path, family: str = "bert", classes: int = 0, words: int = WORDS, **options):
    """A random model of ``transformers`` with its tokenizer in a folder; the model."""
    transformers = pytest.importorskip("transformers", reason="needs the extra 'hf'")
    kinds = {"bert": "Bert", "distilbert": "DistilBert", "roberta": "Roberta"}
    shapes = {
        "bert": {"hidden_size": WIDTH, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64},
        "distilbert": {"dim": WIDTH, "n_layers": 3, "n_heads": 4, "hidden_dim": 64},
    }
    shape = shapes["distilbert" if family == "distilbert" else "bert"]
    config = getattr(transformers, f"{kinds[family]}Config")(
        **shape, vocab_size=words, max_position_embeddings=40, num_labels=classes or 2, **options
    )
    torch.manual_seed(0)
    kind = f"{kinds[family]}ForSequenceClassification" if classes else f"{kinds[family]}Model"
    model = getattr(transformers, kind)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    tokenizer(words).save(str(folder / "tokenizer.json"))
    return model


def write_tsv(path: Path, count: int, seed: int = 0) -> None:
    """Sentences of at least five words that are labelled by their first one."""
    rows = ["sentence\tlabel"]
    for row in sentences(count, seed, shortest=5).tolist():
        words = [f"w{word}" for word in row if word != NO_WORD]
        rows.append(f"{' '.join(words)}\t{'even' if row[0] % 2 == 0 else 'odd'}")
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
