"""A run's model in Hugging Face's form, with the tokenizer of the tokens that it was trained on."""

from __future__ import annotations

from typing import Any

import torch

from dolma_pipe import storage
from dolma_pipe.tokens import TOKENIZER
from dolma_pipe.train.checkpoints import checkpoint
from dolma_pipe.train.evaluation.text import tokenizer_of
from dolma_pipe.train.model import huggingface
from dolma_pipe.train.model.transformer import parameter_count


def export_model(run: str, to: str) -> dict[str, Any]:
    """Write the newest checkpoint of a run (or one checkpoint), and compare what transformers loads with the model."""
    folder = checkpoint.find(run)
    model, record = checkpoint.open_model(folder, torch.device("cpu"))
    tokenizer = tokenizer_of(folder, record)
    config = huggingface.hf_config(model.config, record.sequence_length, tokenizer.eos, tokenizer.pad)
    huggingface.write_model(model, to, config)
    storage.write_bytes(storage.join(to, TOKENIZER), tokenizer.raw)
    difference = huggingface.compare(model, to)
    return {
        "to": to, "checkpoint": folder, "parameters": parameter_count(model),
        "architecture": config["architectures"][0], "difference": difference,
    }  # fmt: skip
