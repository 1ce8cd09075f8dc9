"""Weights that a run begins with: another run's checkpoint, or a folder of Hugging Face's."""

from __future__ import annotations

import json

import torch

from dolma_pipe import storage
from dolma_pipe.errors import ConfigError
from dolma_pipe.train.checkpoints import checkpoint
from dolma_pipe.train.config import RunConfig, differences, plain
from dolma_pipe.train.model import huggingface
from dolma_pipe.train.model.architecture import ModelConfig
from dolma_pipe.train.model.initialisation import fill
from dolma_pipe.train.model.transformer import Transformer
from dolma_pipe.train.parallel import World


def is_hugging_face(folder: str) -> bool:
    return storage.is_file(storage.join(folder, "config.json"))


def architecture_of(config: RunConfig) -> ModelConfig:
    """The model that a run trains: the configuration's, or the one that it starts from; both must agree."""
    if config.start is None:
        if config.model is None and config.branch is not None:
            return _stored(config.branch)
        return config.architecture()
    found = _stored(config.start)
    if config.model is not None:
        own = config.architecture().with_vocabulary(found.vocab_size or 0)
        if own != found:
            names = ", ".join(differences(plain(own), plain(found)))
            raise ConfigError(f"model ({names}) is not that of {config.start}; leave model out to take its own")
    return found


def _stored(folder: str) -> ModelConfig:
    if is_hugging_face(folder):
        path = storage.join(folder, "config.json")
        return huggingface.model_config(json.loads(storage.read_bytes(path)), path)
    return checkpoint.read_record(checkpoint.find(folder)).model


def check_tokenizer(start: str | None, tokenizer: str) -> None:
    """Refuse weights of a run whose ids meant other text; a folder of Hugging Face's does not say what its meant."""
    if start is None or is_hugging_face(start):
        return
    folder = checkpoint.find(start)
    if checkpoint.read_record(folder).data["tokenizer"] != tokenizer:
        raise ConfigError(f"start: {folder} was trained with another tokenizer than the data's; tokenize with its own")


@torch.no_grad()
def load_weights(model: Transformer, folder: str, world: World) -> None:
    """Read the weights into a model, of which this rank may hold a part; every rank calls it."""
    if is_hugging_face(folder):
        whole = dict(huggingface.read_model(folder).named_parameters())
        for name, parameter in model.named_parameters():
            fill(parameter, whole[name])
    else:
        checkpoint.load(checkpoint.find(folder), checkpoint.training_state(model), world)
