"""The training loop: data in their order, a step, a line of metrics, now and then a checkpoint.

The loss of a step is a sum over its rows divided by what the whole global batch weighs (of pre-training: its labels
that count): ranks and micro-batches of unequal numbers of counted labels weigh what they hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from time import perf_counter
from typing import Any, TypeVar

import torch

from dolma_pipe import storage
from dolma_pipe.errors import ConfigError
from dolma_pipe.train.checkpoints import checkpoint
from dolma_pipe.train.checkpoints.checkpoint import CheckpointRecord
from dolma_pipe.train.checkpoints.saving import Saver
from dolma_pipe.train.checkpoints.start import load_weights
from dolma_pipe.train.config import RunConfig, TrainConfig, differences, plain
from dolma_pipe.train.data.feed import Feed
from dolma_pipe.train.data.loader import check_same_data
from dolma_pipe.train.data.text_stream import TextSource
from dolma_pipe.train.meter import Meter, Update
from dolma_pipe.train.metrics import (
    CheckpointSaved,
    Listener,
    RunStarted,
    TrainResult,
    metrics_path,
    read_metrics,
    skipped_path,
)
from dolma_pipe.train.model.architecture import ModelConfig
from dolma_pipe.train.model.compiling import compile_blocks
from dolma_pipe.train.model.initialisation import materialise
from dolma_pipe.train.model.transformer import Transformer, on_meta
from dolma_pipe.train.objective import Remembering, Traceable, Whole
from dolma_pipe.train.optimizer import (
    build_optimizer,
    gradient_norm,
    max_grad_norm,
    prepare_state,
    set_learning_rate,
)
from dolma_pipe.train.parallel import World, join_world, reduce_gradients, shard
from dolma_pipe.train.phases import START, Phase, Progress
from dolma_pipe.train.plan import Plan, make_plan
from dolma_pipe.train.skipping import Quarantine
from dolma_pipe.train.spikes import GuardState, SpikeGuard
from dolma_pipe.train.stopping import Stop, stop_signals
from dolma_pipe.train.writers import Writers, require_writers

C = TypeVar("C", bound=RunConfig)
MakePlan = Callable[[C, Progress | None], Plan]


def train(
    config: TrainConfig,
    listen: Listener = lambda event: None,
    force: bool = False,
    source: TextSource | None = None,
) -> TrainResult | None:
    """Pre-train until the end or a signal, from the newest checkpoint in `config.to` if there is one.

    `source` has the documents of a run that is configured to read them (`config.documents`).

    `force` removes what lies there first. SIGTERM and Ctrl-C save and return with `signal` set. Under torchrun every
    rank calls this; only the first one's listener hears anything and only it gets a result.
    """
    return run(config, partial(make_plan, source=source), listen, force)


def run(config: C, plan: MakePlan[C], listen: Listener = lambda event: None, force: bool = False) -> TrainResult | None:
    """As `train`, for whatever is planned: its examples, and the loss of some of them."""
    config.check()
    require_writers(config.log)
    with ExitStack() as stack:
        world = stack.enter_context(join_world(config.device, config.rank_timeout_seconds))
        stop = stack.enter_context(stop_signals())
        claims = storage.Claims()
        stack.callback(claims.release)
        if world.first:
            claims.add(storage.join(storage.local_path(config.to), "_running"), config.to)
        if force and world.first:
            checkpoint.remove_all(config.to)
            storage.remove(metrics_path(config.to))
            storage.remove(skipped_path(config.to))
            storage.remove_tree(storage.join(config.to, "tensorboard"))
        world.wait()
        return _Run(config, plan, world, listen, stop).train()


def sharded_model(config: RunConfig, model: ModelConfig, world: World) -> Transformer:
    """A model of first values, spread over the ranks as the configuration says."""
    made = on_meta(model, config.precision, config.activation_checkpointing)
    if config.compile:
        compile_blocks(made)
    shard(made, world, config.replicas)
    materialise(made, config.seed, world.device)
    return made


class _Run:
    """One rank's part in a run."""

    def __init__(self, config: Any, make: MakePlan[Any], world: World, listen: Listener, stop: Stop) -> None:
        self.config, self.world, self.listen, self.stop = config, world, listen, stop
        newest = checkpoint.newest(config.to)
        saved = newest or (None if config.branch is None else checkpoint.find(config.branch))
        record = None if saved is None else checkpoint.read_record(saved)
        self.plan: Plan = make(config, None if record is None else record.progress)
        self.at = self.began = START if record is None else record.progress.at
        self.changed: list[str] = []
        if record is not None and saved is not None:
            self._check_same(record, saved)
            if isinstance(self.plan.examples, Remembering):
                self.plan.examples.remember(record.memory)
        self._check_ranks()
        self.phase = self.plan.phase(max(self.at.step, 1))
        self.model = sharded_model(config, self.phase.model, world)
        self.optimizer = build_optimizer(self.model, config.optimizer)
        self.parameters = list(self.model.parameters())
        prepare_state(self.optimizer)
        if saved is not None:
            checkpoint.load(saved, checkpoint.training_state(self.model, self.optimizer), world)
        elif config.start is not None:
            load_weights(self.model, config.start, world)
        self.objective = self.plan.objective(world)
        self.guard = SpikeGuard(config.skip, GuardState() if record is None else record.guard)
        excluded = [] if record is None else record.excluded
        self.quarantine = Quarantine(config.to, config.skip, self.plan.examples, excluded, world)
        self.saver = Saver(config.to, config.checkpoint, world, newest)
        self.saved_step = self.at.step if saved is not None else -1
        self.meter = Meter(world)

    def _check_same(self, record: CheckpointRecord, saved: str) -> None:
        check_same_data(record.data, self.plan.examples.identity(), saved)
        self.changed = differences(record.config, plain(self.config))
        model = self.plan.phase(record.step).model
        if record.model != model:
            names = ", ".join(differences(plain(record.model), plain(model)))
            raise ConfigError(f"model ({names}) is not that of {saved}; train into another folder (to), or --force")

    def _check_ranks(self) -> None:
        for phase in self.plan.phases:
            if phase.global_batch_size % self.world.size:
                batch = f"global_batch_size {phase.global_batch_size}"
                raise ConfigError(f"{batch} is no multiple of the {self.world.size} ranks")
        if self.world.size % self.config.replicas:
            raise ConfigError(f"replicas {self.config.replicas} do not divide the {self.world.size} ranks")

    def train(self) -> TrainResult | None:
        """Run the steps that are left."""
        self._announce()
        writers = Writers(self.config.to, self.config.log, self.at.step) if self.world.first else None
        if self.world.first:
            self.quarantine.forget_after(self.at.step)
        feed = Feed(self.plan, self.world)
        try:
            while self.at.step < self.plan.steps and self._train_step(feed, writers):
                self.saver.hear(self._tell_saved)
            if self.at.step > self.saved_step:
                self._save()
            self.saver.wait()
            self.saver.hear(self._tell_saved)
        finally:
            feed.close()
            self.saver.close()
            if writers is not None:
                writers.close()
        return self._result() if self.world.first else None

    def _train_step(self, feed: Feed, writers: Writers | None) -> bool:
        """One update; False, and none, if any rank was asked to stop."""
        start, step = perf_counter(), self.at.step + 1
        self._enter(self.plan.phase(step))
        rows, waited = feed.take(self.at)
        weight = self._agree(step, self.objective.weight(rows))
        total = None if weight is None else self._gradients(rows, Whole(max(weight, 1), self.phase.global_batch_size))
        if total is None:
            return False
        rate = self.phase.rate(step)
        norm = gradient_norm(self.parameters)
        loss, size = torch.stack((total, norm.to(total.dtype))).tolist()  # the one wait for the device in a step
        skipped = self.guard.judge(step, loss, size)
        if skipped is None:
            self._update(norm, rate)
        elif self.quarantine.skip(self.at, self.phase, skipped, self.listen):
            feed.forget()
        self.optimizer.zero_grad()
        self.at = self.plan.after(self.at)
        report = self.objective.report(step)
        if writers is not None:
            update = Update(self.at, loss, rate, size, perf_counter() - start, waited, skipped)
            line = self.meter.line(self.phase, update, report)
            writers.append(line)
            self.listen(line)
        if skipped is None and self.at.step - self.saved_step >= self._until_due():
            self._save()
        return True

    def _until_due(self) -> int:
        """How many steps after the last checkpoint the next one is due: at the next multiple of `every_steps`."""
        every, saved = self.config.checkpoint.every_steps, max(self.saved_step, 0)
        return (saved // every + 1) * every - self.saved_step

    def _enter(self, phase: Phase) -> None:
        if phase is not self.phase:
            self.phase = phase
            self.model.turn_as(phase.model)
            self.guard.begin_anew()

    def _agree(self, step: int, weight: int = 0) -> int | None:
        """What all ranks' rows weigh; None if any rank was asked to stop."""
        total, stops = self.world.agree(step, [weight, self.stop.signal is not None])
        if stops:
            self.stop.signal = self.stop.signal or "a signal to another rank"
        return None if stops else total

    def _gradients(self, rows: Any, whole: Whole) -> torch.Tensor | None:
        """Accumulate the gradient of the step's loss over micro-batches; the loss, None if a stop was asked for."""
        micro = self.phase.micro_batch_size or rows.row_count
        starts = range(0, rows.row_count, micro)
        total = torch.zeros((), dtype=torch.float64, device=self.world.device)
        for start in starts:
            if start and self._agree(self.at.step + 1) is None:
                return None
            reduce_gradients(self.model, last=start == starts[-1])
            mean, extra = self.objective.loss(self.model, rows.rows(start, start + micro), whole)
            (mean if extra is None else mean + extra).backward()
            total += mean.detach()
        return self.world.add_up(total)

    def _update(self, norm: torch.Tensor, rate: float) -> None:
        """Clip and apply the gradient."""
        limit = max_grad_norm(self.config.optimizer, self.at.step + 1)
        if limit is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, limit, norm)
        set_learning_rate(self.optimizer, rate)
        self.optimizer.step()

    def _save(self) -> None:
        examples = self.plan.examples
        data = examples.identity()
        begun = self.plan.begun(self.at)
        if "mixtures" in data:
            data["mixtures"] = data["mixtures"][: len(begun)]
        record = CheckpointRecord(
            step=self.at.step,
            tokens=self.at.tokens,
            begun=begun,
            data=data,
            model=self.phase.model,
            config=plain(self.config),
            guard=self.guard.state,
            excluded=self.quarantine.excluded,
            lineage=examples.lineage() if isinstance(examples, Traceable) else {},
            memory=examples.memory() if isinstance(examples, Remembering) else {},
        )
        self.saver.save(record, checkpoint.training_state(self.model, self.optimizer))
        self.saved_step = self.at.step

    def _tell_saved(self, folder: str) -> None:
        if self.world.first:
            self.listen(CheckpointSaved(step=checkpoint.step_of(folder), path=folder))

    def _announce(self) -> None:
        if self.world.first:
            self.listen(
                RunStarted(
                    to=self.config.to,
                    step=self.at.step,
                    world_size=self.world.size,
                    device=self.world.device.type,
                    changed=self.changed,
                    **self.plan.facts(),
                )
            )

    def _result(self) -> TrainResult:
        lines = read_metrics(self.config.to)
        return TrainResult(
            to=self.config.to,
            step=self.at.step,
            steps=self.plan.steps,
            tokens=self.at.tokens,
            parameters=self.plan.parameters,
            first_loss=lines[0].loss if lines else math.nan,
            last_loss=lines[-1].loss if lines else math.nan,
            checkpoint=self.saver.saved or "",
            trained_steps=self.at.step - self.began.step,
            signal=self.stop.signal,
        )
