"""Whisper with its decoder: a victim whose task is to write down what was said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from atm.errors import AtmError, one_line
from atm.finite import check_finite
from atm.speech_encoder import SpeechEncoder
from atm.transcriber import Transcriber
from atm.victims.hub import CONFIG, HUB, Repository
from atm.victims.victim import Victim
from atm.weight_files import state_digest

ARCHITECTURE = "WhisperForConditionalGeneration"
TOKENIZER = "tokenizer.json"


def transcribing(victim: Victim) -> Victim:
    """The same victim, which answers with the transcript that its own decoder writes.

    Raises:
        AtmError: it is no Whisper, or its repository has no decoder or tokenizer.
    """
    found = HUB.fullmatch(victim.name)
    repository = Repository(victim.name if found is None else found[1])
    if victim.description.get("architecture") != ARCHITECTURE:
        raise AtmError(f"--head decoder is for Whisper with its decoder, and victim {victim.name!r} is none")
    old = victim.encoder
    transcriber = _transcriber(repository)
    for part, tensor in transcriber.state_dict().items():
        check_finite(f"weights of the decoder: {part}", tensor)
    mean, std = (tensor.flatten().tolist() for tensor in (old.mean, old.std))
    encoder = SpeechEncoder(old.vit, transcriber, mean, std, old.spectrogram).eval().requires_grad_(False)
    told = {key: value for key, value in victim.description.items() if key != "outputs"}
    return replace(
        victim,
        encoder=encoder.to(old.device),
        digest=state_digest(encoder),
        body=victim.digest,
        task="transcript",
        description=told,
    )


def _transcriber(repository: Repository) -> Transcriber:
    path, folder = repository.file(TOKENIZER), str(repository.weights()[0].parent)
    if path is None:
        raise AtmError(f"victim {repository.name!r} has no {TOKENIZER}, by which its decoder writes")
    for file in (CONFIG, "generation_config.json"):
        repository.file(file)  # downloaded where it is on a hub
    try:
        from tokenizers import Tokenizer
        from transformers import WhisperForConditionalGeneration
        from transformers.utils import logging

        logging.disable_progress_bar()
        model: Any = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
        words = Tokenizer.from_file(str(path))
    except Exception as error:  # a folder may hold anything, and what it says goes through several libraries
        raise AtmError(f"{repository.name} cannot be loaded by transformers: {one_line(error)[:300]}") from None
    return Transcriber(model.eval().requires_grad_(False), words)
