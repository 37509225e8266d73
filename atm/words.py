"""A victim's tokenizer: sentences to numbers of words, and the names of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atm.errors import AtmError, one_line
from privacy_metrics.extras import extra


@dataclass(frozen=True, eq=False)
class Words:
    """A tokenizer of the library ``tokenizers``.

    Attributes:
        tokenizer: of that library, which neither pads nor cuts.
        special: numbers of the class token and the separator.
        pieces: the vocabulary, by number.
    """

    tokenizer: Any
    special: tuple[int, int]
    pieces: tuple[str, ...]

    @classmethod
    def read(cls, path: Path, vocabulary: int) -> Words:
        """The tokenizer in a file ``tokenizer.json``.

        Args:
            path: of the file.
            vocabulary: words that the model knows, more than which the tokenizer must not have.

        Raises:
            AtmError: the library is missing, or the file holds no tokenizer that fits.
        """
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise AtmError(f"victims that read text need transformers; {extra('hf')}") from None
        try:
            return cls.of(Tokenizer.from_file(str(path)), vocabulary)
        except AtmError as error:
            raise AtmError(f"{path}: {error}") from None
        except Exception as error:  # the library raises plain exceptions
            raise AtmError(f"{path} holds no tokenizer: {one_line(error)}") from None

    @classmethod
    def of(cls, tokenizer: Any, vocabulary: int) -> Words:
        """A tokenizer of the library, for a model that knows so many words.

        Raises:
            AtmError: it puts other special tokens around a sentence than one before and one behind, or knows more.
        """
        tokenizer.no_padding()
        tokenizer.no_truncation()
        special = tokenizer.encode("").ids
        if len(special) != 2:
            raise AtmError(
                f"the tokenizer puts {len(special)} special tokens around a sentence, expected two, as BERT's"
            )
        known = tokenizer.get_vocab()
        most = max(known.values(), default=-1)
        if not 0 <= most < vocabulary:
            raise AtmError(f"the tokenizer has word {most}, the model knows {vocabulary}")
        names = {number: piece for piece, number in known.items()}
        pieces = tuple(names.get(number, f"[unused-{number}]").replace("\n", " ") for number in range(vocabulary))
        return cls(tokenizer, (special[0], special[1]), pieces)

    def cut(self, sentences: Sequence[str]) -> list[list[int]]:
        """The words of each sentence, without special tokens."""
        return [each.ids for each in self.tokenizer.encode_batch(list(sentences), add_special_tokens=False)]

    def join(self, words: Sequence[int]) -> str:
        """Words as people write them."""
        written: str = self.tokenizer.decode(list(words), skip_special_tokens=False)
        return written
