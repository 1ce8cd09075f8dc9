"""What instruction tuning and preference optimisation are, as typed configuration; imports no torch."""

from __future__ import annotations

from dolma_pipe.config import Config, bundled, convert, read_yaml
from dolma_pipe.errors import ConfigError
from dolma_pipe.train.config import RunConfig
from dolma_pipe.train.model.architecture import PositiveReal


class ChatTemplate(Config, frozen=True):
    """How a conversation becomes text: what stands before and after the content of each role's messages.

    After an answer, before what follows it, stands `end` (default: end-of-text), which is trained as the answer is.
    Special tokens of the tokenizer are themselves in a template; in a message they are text.
    """

    roles: dict[str, tuple[str, str]]
    end: str | None = None

    def check(self) -> None:
        if "assistant" not in self.roles:
            raise ConfigError(f"template: no role `assistant` (there are: {', '.join(self.roles) or 'none'})")


class TuneConfig(RunConfig, frozen=True):
    """What both have: a trained model to `start` from, `data` of JSON lines, a chat `template` (configs/chat/).

    The run sees the data `epochs` times, or for so many `steps`. What is longer than `sequence_length` tokens is left
    out, and counted: nothing is cut. The tokenizer is that of the model; `tokenizer` names another folder or file.
    `eos` is the end-of-text token where a folder of Hugging Face's does not say it (tokenizer_config.json).
    """

    data: list[str] = []
    template: ChatTemplate | str = "tulu"
    epochs: PositiveReal | None = None
    tokenizer: str | None = None
    eos: str | None = None

    def chat(self) -> ChatTemplate:
        """The template, read from its file where it is given by name."""
        if isinstance(self.template, ChatTemplate):
            return self.template
        is_file = "/" in self.template or self.template.endswith(".yaml")
        path = self.template if is_file else str(bundled(f"chat/{self.template}.yaml"))
        return convert(read_yaml(path), ChatTemplate, path)

    def check(self) -> None:
        if self.start is None:
            raise ConfigError("start: name the model to tune: a run, a checkpoint, or a folder of Hugging Face's")
        if not self.data:
            raise ConfigError("data: no file of JSON lines is named")
        if (self.steps is None) == (self.epochs is None):
            raise ConfigError("epochs or steps: say with one of them how long to train")
        self.chat().check()
        super().check()


class SftConfig(TuneConfig, frozen=True):
    """Supervised fine-tuning: rows `{"messages": [{"role", "content"}, ...]}`; the loss is that of the answers alone.

    With `pack`, a row holds as many conversations as fit, each attending to itself only.
    """

    pack: bool = True


class DpoConfig(TuneConfig, frozen=True):
    """Direct preference optimisation (Rafailov et al. 2023): rows `{"prompt", "chosen", "rejected"}`.

    `chosen` and `rejected` are answers to `prompt`, or conversations that differ in their last answer. The reference is
    the model that the run starts from; `beta` weighs how far the policy may leave it. `global_batch_size` counts
    pairs. With `per_token` log-probabilities are means over an answer's tokens, not sums (Tulu 3).
    """

    beta: PositiveReal = 0.1
    per_token: bool = False
