"""dolma-pipe generate"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dolma_pipe.cli import options


def command(
    run: Annotated[str, typer.Argument(help="A run or a checkpoint.")],
    prompt: Annotated[str, typer.Argument(help="How the text begins; nothing: a document's beginning.")] = "",
    max_tokens: Annotated[int, typer.Option(help="Tokens to write, if no end-of-text comes before.")] = 100,
    temperature: Annotated[float, typer.Option(help="0: always the likeliest token; 1: as likely as it is.")] = 0.0,
    top_k: Annotated[int | None, typer.Option(help="Draw from the K likeliest tokens only.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed, another text.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    chat: Annotated[bool, typer.Option("--chat", help="The prompt is a user's message to a tuned model.")] = False,
    json: options.Json = False,
) -> None:
    """Let a trained model go on from a prompt."""
    from dolma_pipe.config import convert
    from dolma_pipe.train import require_torch

    require_torch()
    from dolma_pipe.train.checkpoints import checkpoint
    from dolma_pipe.train.evaluation.text import TextEncoder, tokenizer_of
    from dolma_pipe.train.model.generate import GenerateConfig, generate
    from dolma_pipe.train.parallel import choose_device

    settings = {"max_tokens": max_tokens, "temperature": temperature, "top_k": top_k, "seed": seed}
    chosen = convert(settings, GenerateConfig, "generate")
    folder = checkpoint.find(run)
    model, record = checkpoint.open_model(folder, choose_device(device))
    text = TextEncoder(tokenizer_of(folder, record))
    ids, stop = [text.first, *text.encode([prompt])[0].tolist()], text.eos
    if chat:
        ids, stop = _asked(folder, record, prompt)
    found = list(generate(model, ids, chosen, stop))
    if json:
        import msgspec

        said = {"prompt": prompt, "text": text.decode(found), "tokens": found}
        typer.echo(msgspec.json.encode(said).decode())
    else:
        typer.echo(text.decode(found if chat else [*ids[1:], *found]))


def _asked(folder: str, record: Any, prompt: str) -> tuple[list[int], int]:
    """The tokens of a question, in the template that the model was tuned with, and the one that ends an answer."""
    from dolma_pipe.config import convert
    from dolma_pipe.errors import ConfigError
    from dolma_pipe.train.adaptation.chat import ChatEncoder, Message
    from dolma_pipe.train.adaptation.config import TuneConfig
    from dolma_pipe.train.evaluation.text import tokenizer_of

    if "template" not in record.config:
        raise ConfigError(f"generate --chat: {folder} was not tuned on conversations (dolma-pipe sft)")
    known = {name: record.config[name] for name in TuneConfig.__struct_fields__}
    template = convert(known, TuneConfig, folder).chat()
    encoder = ChatEncoder(tokenizer_of(folder, record), template)
    return encoder.prompt([Message("user", prompt)]), encoder.end
