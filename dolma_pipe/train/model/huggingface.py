"""A model in Hugging Face's form, and back: config.json, safetensors, tokenizer.

Written are `OlmoForCausalLM`, `Olmo2ForCausalLM`, `LlamaForCausalLM`, `MistralForCausalLM`, `MixtralForCausalLM`,
whichever computes the same; OpenELM has no class in transformers and is refused. `export` ends by loading what it
wrote with transformers and comparing logits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
import torch
from torch import Tensor

from dolma_pipe import storage
from dolma_pipe.errors import ConfigError, DataError, DependencyError
from dolma_pipe.train.model.architecture import ExpertsConfig, ModelConfig
from dolma_pipe.train.model.rope_forms import from_hugging_face, to_hugging_face
from dolma_pipe.train.model.transformer import Transformer, on_meta
from dolma_pipe.types import Plain

SHARD_BYTES = 5 << 30
TOLERANCE = 1e-5
COMPARED = 64
"""Tokens whose logits are compared."""

_ATTENTION = {
    "attention.query": "self_attn.q_proj", "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj", "attention.output": "self_attn.o_proj",
}  # fmt: skip
_FFN = {"ffn.gate": "mlp.gate_proj", "ffn.up": "mlp.up_proj", "ffn.down": "mlp.down_proj"}
_EXPERTS = {"ffn.gate": "w1", "ffn.up": "w3", "ffn.down": "w2"}
_NORMS_BEFORE = {"attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
_NORMS_AFTER = {"attention_norm": "post_attention_layernorm", "ffn_norm": "post_feedforward_layernorm"}
_QUERY_KEY = {"attention.query_norm": "self_attn.q_norm", "attention.key_norm": "self_attn.k_norm"}


class Kind(NamedTuple):
    """A class of transformers, and what a configuration must be for it to compute the same."""

    architecture: str
    fits: Callable[[ModelConfig], bool]


def _plain_llama(config: ModelConfig) -> bool:
    return config.norm == "rms" and not config.norm_after and config.query_key_norm is None and config.clip_qkv is None


KINDS = {
    "olmo": Kind(
        "OlmoForCausalLM",
        lambda c: c.norm == "layer" and c.norm_eps == 1e-5 and not c.norm_after and c.query_key_norm is None
        and c.experts is None and c.sliding_window is None,
    ),
    "olmo2": Kind(
        "Olmo2ForCausalLM",
        lambda c: c.norm == "rms" and c.norm_after and c.query_key_norm == "width" and c.clip_qkv is None
        and c.experts is None and c.sliding_window is None,
    ),
    "llama": Kind("LlamaForCausalLM", lambda c: _plain_llama(c) and c.experts is None and c.sliding_window is None),
    "mistral": Kind("MistralForCausalLM", lambda c: _plain_llama(c) and c.experts is None),
    "mixtral": Kind("MixtralForCausalLM", lambda c: _plain_llama(c) and c.experts is not None),
}  # fmt: skip


def kind_of(config: ModelConfig) -> str:
    """The first of `KINDS` that computes what the configuration does."""
    for name in ("n_heads", "n_kv_heads", "ffn_hidden"):
        if isinstance(getattr(config, name), list):
            raise ConfigError(f"model.{name} differs by layer: transformers has no such class (OpenELM is remote code)")
    for name, kind in KINDS.items():
        if kind.fits(config):
            return name
    raise ConfigError(f"no class of transformers computes this model; those that can be written: {', '.join(KINDS)}")


def hf_config(config: ModelConfig, length: int, eos: int, pad: int | None) -> dict[str, Plain]:
    """config.json; `length` is the context that the model was trained with."""
    kind, layer = kind_of(config), config.layer(0)
    found: dict[str, Plain] = {
        "architectures": [KINDS[kind].architecture], "model_type": kind, "vocab_size": config.padded_vocab_size,
        "hidden_size": config.d_model, "intermediate_size": layer.ffn_hidden, "num_hidden_layers": config.n_layers,
        "num_attention_heads": layer.n_heads, "num_key_value_heads": layer.n_kv_heads, "head_dim": config.head,
        "hidden_act": "silu", "max_position_embeddings": length, "tie_word_embeddings": config.tie_embeddings,
        **to_hugging_face(config),
        "attention_bias": False, "eos_token_id": eos, "bos_token_id": None, "pad_token_id": pad, "dtype": "float32",
    }  # fmt: skip
    if kind == "olmo":
        found["clip_qkv"] = config.clip_qkv
    else:
        found["rms_norm_eps"] = config.norm_eps
    if kind in ("mistral", "mixtral"):
        found["sliding_window"] = config.sliding_window
    if config.experts is not None:
        found["num_local_experts"], found["num_experts_per_tok"] = config.experts.count, config.experts.chosen
        found["router_aux_loss_coef"] = config.experts.balance_loss
    return found


def names(config: ModelConfig) -> Iterator[tuple[str, str, int | None]]:
    """(our parameter, Hugging Face's, which expert of ours it is or None) of every tensor of a model."""
    yield "embedding.weight", "model.embed_tokens.weight", None
    inside = {**_ATTENTION}
    if config.norm == "rms":
        inside |= _NORMS_AFTER if config.norm_after else _NORMS_BEFORE
        yield "norm.weight", "model.norm.weight", None
    if config.query_key_norm is not None:
        inside |= _QUERY_KEY
    inside |= _FFN if config.experts is None else {"ffn.router": "block_sparse_moe.gate"}
    for layer in range(config.n_layers):
        for ours, theirs in inside.items():
            yield f"blocks.{layer}.{ours}.weight", f"model.layers.{layer}.{theirs}.weight", None
        for expert in range(config.experts.count if config.experts else 0):
            for ours, theirs in _EXPERTS.items():
                name = f"model.layers.{layer}.block_sparse_moe.experts.{expert}.{theirs}.weight"
                yield f"blocks.{layer}.{ours}.weight", name, expert
    if not config.tie_embeddings:
        yield "unembedding.weight", "lm_head.weight", None


def write_model(model: Transformer, to: str, config: dict[str, Plain]) -> None:
    """config.json and the weights, in files of at most 5 GB with an index where there are several."""
    save_file = _safetensors().save_file
    parameters = dict(model.named_parameters())
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for ours, theirs, expert in names(model.config):
        weight = parameters[ours].detach()
        weight = (weight if expert is None else weight[expert]).contiguous().to("cpu")
        if shards[-1] and size + weight.nbytes > SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][theirs] = weight
        size += weight.nbytes
    storage.make_folder(to)
    files = ["model.safetensors"]
    if len(shards) > 1:
        files = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
        index = {name: file for file, shard in zip(files, shards, strict=True) for name in shard}
        total = sum(weight.nbytes for shard in shards for weight in shard.values())
        about: Plain = {"metadata": {"total_size": total}, "weight_map": index}
        _write_json(storage.join(to, "model.safetensors.index.json"), about)
    for file, shard in zip(files, shards, strict=True):
        save_file(shard, storage.join(to, file), metadata={"format": "pt"})
    _write_json(storage.join(to, "config.json"), config)


def _write_json(path: str, value: Plain) -> None:
    storage.write_bytes(path, msgspec.json.format(msgspec.json.encode(value)) + b"\n")


def model_config(found: dict[str, Any], where: str) -> ModelConfig:
    """The configuration that a config.json describes; what we cannot compute is refused."""
    kind = found.get("model_type")
    if kind not in KINDS:
        raise ConfigError(f"{where}: model_type {kind!r}; those that can be read: {', '.join(KINDS)}")
    scaling = found.get("rope_scaling") or found.get("rope_parameters") or {}
    if found.get("attention_bias") or found.get("mlp_bias"):
        raise ConfigError(f"{where}: the model has biases, which ours do not")
    heads = found["num_attention_heads"]
    kv_heads = found.get("num_key_value_heads") or heads
    experts = None
    if kind == "mixtral":
        experts = ExpertsConfig(
            count=found["num_local_experts"], chosen=found["num_experts_per_tok"],
            balance_loss=found.get("router_aux_loss_coef", 0.001),
        )  # fmt: skip
    head = found.get("head_dim") or found["hidden_size"] // heads
    is_rms = kind != "olmo"
    config = ModelConfig(
        d_model=found["hidden_size"], n_layers=found["num_hidden_layers"], n_heads=heads,
        n_kv_heads=None if kv_heads == heads else kv_heads,
        head_width=None if head * heads == found["hidden_size"] else head,
        ffn_hidden=found["intermediate_size"], norm="rms" if is_rms else "layer",
        norm_eps=found["rms_norm_eps"] if is_rms else 1e-5, norm_after=kind == "olmo2",
        query_key_norm="width" if kind == "olmo2" else None, clip_qkv=found.get("clip_qkv") if kind == "olmo" else None,
        sliding_window=found.get("sliding_window"), experts=experts,
        rope_theta=float(scaling.get("rope_theta") or found.get("rope_theta") or 10_000.0),
        rope_scaling=from_hugging_face(scaling, where),
        initialisation="normal" if is_rms else "mitchell",
        init_std=found.get("initializer_range", 0.02) if is_rms else None,
        tie_embeddings=bool(found.get("tie_word_embeddings", False)),
        vocab_size=found["vocab_size"], padded_vocab_size=found["vocab_size"],
    )  # fmt: skip
    config.check()
    return config


def read_model(folder: str, precision: str = "fp32") -> Transformer:
    """The model of a Hugging Face folder, on the CPU; every tensor is used and every weight is set."""
    path = storage.join(folder, "config.json")
    config = model_config(json.loads(storage.read_bytes(path)), path)
    model = on_meta(config, precision).to_empty(device="cpu")
    parameters = dict(model.named_parameters())
    tensors = _Tensors(folder)
    with torch.no_grad():
        for ours, theirs, expert in names(config):
            weight, values = parameters[ours], tensors.take(theirs)
            weight = weight if expert is None else weight[expert]
            if weight.shape != values.shape:
                raise DataError(f"{folder}: {theirs} is {tuple(values.shape)}, config.json says {tuple(weight.shape)}")
            weight.copy_(values)
    tensors.finish(config)
    return model


class _Tensors:
    """The tensors of a folder's safetensors files, each to be taken once."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        files = [name for name in storage.listing(folder) if name.endswith(".safetensors") and "/" not in name]
        if not files:
            raise DataError(f"{folder}: no .safetensors file; a folder of Hugging Face's has config.json and weights")
        opened = [_safetensors_open()(storage.join(folder, name), framework="pt") for name in files]
        self._files = {name: file for file in opened for name in file.keys()}  # noqa: SIM118
        self._left = set(self._files)

    def take(self, name: str) -> Tensor:
        if name not in self._files:
            raise DataError(f"{self.folder}: no tensor {name!r}")
        self._left.discard(name)
        return self._files[name].get_tensor(name)

    def finish(self, config: ModelConfig) -> None:
        left = sorted(name for name in self._left if "rotary" not in name)
        left = [name for name in left if not (config.tie_embeddings and name == "lm_head.weight")]
        if left:
            raise DataError(f"{self.folder}: tensors that no part of the model is: {', '.join(left[:5])}")


def compare(model: Transformer, folder: str) -> float:
    """The largest difference of logits between the model and what transformers loads from a folder."""
    transformers = _transformers()
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    rows = model.config.vocab_size or 0
    ids = (torch.arange(COMPARED) * 7919 % rows)[None]
    with torch.no_grad():
        ours = _exact(model)(ids)
        difference = (ours - theirs.eval()(ids).logits).abs().max().item()
    if not difference <= TOLERANCE * max(1.0, ours.abs().max().item()):
        raise DataError(f"{folder}: loaded by transformers, its logits differ by up to {difference:.2g}")
    return difference


def _exact(model: Transformer) -> Transformer:
    """The model computing in float32 on the CPU."""
    config = msgspec.structs.replace(model.config)
    exact = on_meta(config, "fp32").to_empty(device="cpu")
    exact.load_state_dict(model.state_dict())
    return exact.eval()


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ImportError as error:
        raise DependencyError("safetensors", "hf", "Hugging Face's format") from error
    return safetensors.torch


def _safetensors_open() -> Any:
    _safetensors()
    from safetensors import safe_open

    return safe_open


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise DependencyError("transformers", "hf", "comparing with Hugging Face's model") from error
    return transformers
