"""Training loop shared by supervised training, pre-training and fine-tuning."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from asa.devices import keep_freed_memory, peak_memory, wants_bf16
from asa.errors import AsaError, InputError, ModelError, OutputError
from asa.nn.objective import Batch as Batch
from asa.nn.objective import Objective as Objective
from asa.runs.folder import Run
from asa.runs.layout import kept_name
from asa.seeds import step_seed
from asa.training import checkpoint
from asa.training.budget import Budget
from asa.training.interrupts import on_interrupt
from asa.training.optimiser import make_optimiser
from asa.training.parallel.distributed import World, mean_over_world, share_buffers
from asa.training.parallel.sharding import shard, shared_like, whole
from asa.training.prefetch import prefetch
from asa.training.settings import Optimisation, Schedule, learning_rate

BEAT_S = 30.0  # maximum seconds between heartbeats where steps are quick and rarely logged


class Source(Protocol):
    """Source of samples; sample ``index`` is always the same, so that a resumed run sees the same data."""

    def collate(self, indices: Sequence[int]) -> Batch:
        """Return a micro-batch of these samples; tensors have the batch axis first."""


class TrainingDiverged(AsaError):
    """The loss is not finite."""


class Trainer:
    """Runs optimiser steps, writes events, checkpoints and the moving average of weights.

    Step ``s`` always uses samples ``s * batch ... (s + 1) * batch - 1`` and reseeds the random state, so that a run
    that was killed and resumed has the losses of one never stopped. Several processes compute what one does, but for
    what is drawn within the network (dropout) or taken over a micro-batch (batch normalisation, Dice).

    Args:
        objective: network and loss.
        source: training samples.
        optimisation: settings of the optimiser.
        schedule: when things happen.
        run: folder to write to.
        world: this process among its peers.
        validate: called with the (averaged) network in evaluation mode; returns scores, of which ``score`` (higher is
            better) chooses the best checkpoint.
        describe: JSON that rebuilds the network; stored in each checkpoint.
        sharded: share weights and optimiser state out over the processes (FSDP2) instead of copying them (DDP).
        on_step: called after each step with the step number (previews).
        lr_scale: name of a parameter of the objective -> factor on its learning rate.
    """

    def __init__(
        self,
        objective: Objective,
        source: Source,
        optimisation: Optimisation,
        schedule: Schedule,
        run: Run,
        world: World,
        *,
        describe: dict[str, Any],
        validate: Callable[[nn.Module], dict[str, float]] | None = None,
        on_step: Callable[[int], None] | None = None,
        sharded: bool = False,
        lr_scale: Callable[[str], float] = lambda _name: 1.0,
    ) -> None:
        self.objective = objective.to(world.device)
        self.sharded = sharded and world.size > 1
        if self.sharded:
            shard(self.objective, world)
        self.source, self.optimisation, self.schedule, self.run, self.world = source, optimisation, schedule, run, world
        self.describe, self.validation, self.on_step = describe, validate, on_step
        self.parameters = [p for p in objective.parameters() if p.requires_grad]
        self.optimiser = make_optimiser(self.objective, optimisation, lr_scale)
        self.average: dict[str, Tensor] = {}
        self.restart_average()
        self.step = 0
        self.best = -math.inf
        self.stale = 0
        self.validated_step = 0  # step of the last validation
        self.stop_requested = False
        self.budget, self.planned = Budget(schedule.budget_minutes), 0  # steps that fit into it, once known
        self.bf16 = wants_bf16(optimisation.precision, world.device)

    def restart_average(self) -> None:
        """Begin the moving average with the weights as they are; needed after weights were loaded from elsewhere."""
        weights = self.objective.network.state_dict() if self.optimisation.ema else {}
        self.average = {name: value.clone() for name, value in weights.items()}

    def save(self, name: str, *, final: bool = False) -> bool:
        """Write checkpoint ``name``; a full disk is logged and returns False, and is raised of a ``final`` one."""
        if not (self.world.main or self.sharded):
            return True
        tensors = {f"model.{k}": v for k, v in self.objective.state_dict().items()}
        tensors |= {f"{checkpoint.AVERAGE}{k}": v for k, v in self.average.items()}
        if name == "last":
            tensors |= checkpoint.optimiser_tensors(self.optimiser)
        tensors = {k: whole(v) for k, v in tensors.items()}  # every process gives its part
        if not self.world.main:
            return True
        record: dict[str, Any] = {"network": self.describe, "step": self.step, "judged": self.validated_step}
        record |= {"best": self.best, "stale": self.stale, "planned": self.planned}
        try:
            checkpoint.save(self.run.checkpoint_path(name), tensors, record)
        except AsaError as error:
            if final:
                raise
            self.run.log(f"Checkpoint not written, training continues: {error}")
            return False
        return True

    def resume(self) -> bool:
        """Continue from ``last`` if there is one."""
        path = self.run.checkpoint_path("last")
        if not path.exists():
            return False
        tensors, record = checkpoint.load(path)
        if not checkpoint.same_network(record["network"], checkpoint.as_json(self.describe)):
            raise ModelError(f"{path} belongs to a different preset or method. Choose another run folder.")
        checkpoint.load_weights(self.objective, tensors, "model.", str(path))
        if self.average and f"{checkpoint.AVERAGE}{next(iter(self.average))}" not in tensors:
            raise ModelError(f"{path} has no moving average of weights, which ema needs. Choose another run folder.")
        self.average = {
            k: shared_like(tensors[f"{checkpoint.AVERAGE}{k}"].to(self.world.device), v)
            for k, v in self.average.items()
        }
        checkpoint.restore_optimiser(self.optimiser, tensors, str(path))
        self.step, self.best, self.stale = record["step"], record["best"], record["stale"]
        self.validated_step = record.get("judged", self.step)
        if self.budget.minutes and record.get("planned"):
            self.shorten(record["planned"])
        if self.world.main:
            self.run.event("resume", step=self.step)
        return True

    def load_best(self) -> None:
        """Load the best weights (averaged ones if there are any), otherwise the last, into the network."""
        path = next(p for p in map(self.run.checkpoint_path, ("best", "last")) if p.is_file())
        tensors, _ = checkpoint.load(path)
        prefix = checkpoint.AVERAGE if self.average else checkpoint.NETWORK
        checkpoint.load_weights(self.objective.network, tensors, prefix, str(path))

    def fit(self) -> str:
        """Train to the end of the schedule; returns ``finished``, ``stopped`` or ``early``.

        Raises:
            TrainingDiverged: a loss or gradient is not a number; nothing is saved after it.
            InputError: the data can no longer be read; the steps done so far are saved.
        """
        if self.optimisation.batch < self.world.size:
            raise InputError(f"A batch of {self.optimisation.batch} cannot be shared by {self.world.size} processes.")
        if self.sharded and self.optimisation.batch % self.world.size:
            raise InputError(
                f"FSDP needs a multiple of {self.world.size} (processes) as batch, not {self.optimisation.batch}."
            )
        try:
            return self.loop()
        except BaseException as error:
            if isinstance(error, InputError):  # raised between two steps, so the state is whole
                self.save("last")
            if self.world.main:
                self.end("failed", reason=str(error))
            raise

    def loop(self) -> str:
        """Run the steps of :meth:`fit`."""
        keep_freed_memory()
        started = last_log = last_beat = time.monotonic()
        model: nn.Module = self.objective
        if self.world.size > 1 and not self.sharded:
            model = DistributedDataParallel(
                self.objective, device_ids=[self.world.device.index] if self.world.device.type == "cuda" else None
            )
        first, outcome, last = self.step, "finished", self.optimisation.steps
        if self.patience_exhausted():  # it may have ended before
            outcome, last = "early", first
        with on_interrupt(self.request_stop):
            for batch in prefetch(self.micro_batches, first, last):
                losses = self.optimise(model, batch)
                self.step += 1
                if self.budget.step_done() and not self.planned:
                    self.shorten(self.steps_in_budget())
                if self.world.main and (self.step % self.schedule.log_every == 0 or self.step == first + 1):
                    now = time.monotonic()
                    done = 1 if self.step == first + 1 else min(self.schedule.log_every, self.step - first - 1)
                    self.report(losses, (now - last_log) / done)
                    last_log = now
                elif self.world.main and time.monotonic() - last_beat > BEAT_S:
                    last_beat = time.monotonic()
                    self.heartbeat("running")
                if self.on_step:
                    self.on_step(self.step)
                if self.due(self.schedule.validate_every) and self.timed_validation():
                    outcome = "early"
                    break
                if self.due(self.schedule.checkpoint_every):
                    self.save("last")
                if self.due(self.schedule.keep_every):
                    self.save(kept_name(self.step))
                over = 0 < self.schedule.max_seconds < time.monotonic() - started
                asked = self.stop_requested or (self.world.main and self.run.stop_path.exists())
                if self.any_rank(asked or over) and self.step < self.optimisation.steps:
                    outcome = "stopped"
                    break
                if self.step >= self.optimisation.steps:
                    break
        if outcome == "finished" and self.schedule.validate_every > 0 and self.validated_step < self.step:
            self.validate(final=True)  # the last steps may be the best ones
        self.save("last", final=True)
        if self.world.main:
            self.end(outcome)
        return outcome

    def steps_in_budget(self) -> int:
        """Return how many steps the budget allows; the same in every process.

        Raises:
            InputError: too few for a run.
        """
        planned = self.budget.plan(self.step, self.optimisation.steps, self.schedule.validate_every)
        return int(mean_over_world({"steps": float(planned)}, self.world)["steps"])

    def shorten(self, steps: int) -> None:
        """Give the run fewer steps, and fit the schedule of the learning rate and what is frozen late to them."""
        self.planned = steps
        self.objective.freeze_at *= steps / self.optimisation.steps
        warmup = min(self.optimisation.warmup_steps, steps // 10)
        self.optimisation = self.optimisation.model_copy(update={"steps": steps, "warmup_steps": warmup})
        if self.world.main:
            self.run.event("planned", step=self.step, steps=steps, minutes=self.budget.minutes)
            self.run.log(f"The budget of {self.budget.minutes:g} minutes allows {steps} steps.")

    def timed_validation(self) -> bool:
        """Validate, plan the length again once the time of a validation is known, and return :meth:`validate`."""
        started = time.monotonic()
        exhausted = self.validate()
        if self.budget.validation_done(time.monotonic() - started):
            self.shorten(self.steps_in_budget())
        return exhausted

    def heartbeat(self, phase: str) -> None:
        """Record that this process is alive, and its progress."""
        self.run.heartbeat(phase, self.step, self.optimisation.steps, device=str(self.world.device))

    def end(self, outcome: str, **why: str) -> None:
        """Record the end of the run."""
        self.heartbeat(outcome)
        self.run.stop_path.unlink(missing_ok=True)
        self.run.event("end", step=self.step, outcome=outcome, **why)
        self.run.log(f"{outcome.capitalize()} at step {self.step}.")

    def micro_batches(self, step: int) -> list[tuple[float, Batch]]:
        """This process's share of step ``step``: (weight of its mean loss in the global mean, micro-batch) pairs."""
        batch, size = self.optimisation.batch, self.optimisation.micro_batch
        mine = range(step * batch + self.world.rank, (step + 1) * batch, self.world.size)
        parts = [mine[i : i + size] for i in range(0, len(mine), size)]
        return [(len(part) / batch, self.source.collate(part)) for part in parts]

    def optimise(self, model: nn.Module, batch: list[tuple[float, Batch]]) -> dict[str, float]:
        """Run one optimiser step and return losses averaged over the global batch."""
        torch.manual_seed(step_seed(self.optimisation.seed, self.step, self.world.rank))
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.optimisation, self.step) * group.get("lr_scale", 1.0)
        self.objective.frozen_norm |= self.step >= self.objective.freeze_at
        model.train()
        totals: dict[str, Tensor] = {}  # on the device: to read them would wait for it after each micro-batch
        for number, (weight, part) in enumerate(batch):
            part = self.on_device(part)
            wait = (
                model.no_sync()
                if isinstance(model, DistributedDataParallel) and number < len(batch) - 1
                else contextlib.nullcontext()
            )
            with wait:
                with torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.bf16):
                    losses = model(part)
                # DDP averages over processes; times the world's size the sum is the global mean
                (losses["loss"] * weight * self.world.size).backward()
            for name, value in losses.items():
                share = value.detach().double() * (weight * self.world.size)
                totals[name] = totals[name] + share if name in totals else share
        sums = mean_over_world({name: float(total) for name, total in totals.items()}, self.world)
        norm = whole(torch.nn.utils.clip_grad_norm_(self.parameters, self.optimisation.clip))
        if not (math.isfinite(sums["loss"]) and math.isfinite(norm)):
            names = self.nonfinite_samples([part for _, part in batch])
            self.run.event("diverged", step=self.step, names=names)
            raise TrainingDiverged(
                f"The loss became {sums['loss']} (gradient {float(norm)}) at step {self.step} with "
                f"{', '.join(names) or 'samples of another process'}. The last good checkpoint is kept. "
                "Lower the learning rate or remove the scan."
            )
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.update_average()
        return {**sums, "gradient_norm": float(norm)}

    def on_device(self, part: Batch) -> Batch:
        """Move tensors to this process's device and leave everything else as it is."""
        return {k: v.to(self.world.device) if torch.is_tensor(v) else v for k, v in part.items()}

    @torch.no_grad()
    def nonfinite_samples(self, parts: list[Batch]) -> list[str]:
        """Return the names of the samples whose own loss is not a number; if each is fine alone, of all of them."""
        self.objective.eval()
        everything, bad = [], []
        for part in parts:
            for i, name in enumerate(part.get("names", [])):
                everything.append(str(name))
                alone = self.on_device({k: v[i : i + 1] for k, v in part.items()})
                if not math.isfinite(self.objective(alone)["loss"]):
                    bad.append(str(name))
        return sorted(set(bad or everything))

    def update_average(self) -> None:
        """Exponential moving average of weights and buffers; quicker at the start."""
        if not self.average:
            return
        decay = min(self.optimisation.ema, (1 + self.step) / (10 + self.step))
        state = self.objective.network.state_dict()
        floats = [k for k, v in state.items() if v.is_floating_point()]
        torch._foreach_lerp_([self.average[k] for k in floats], [state[k] for k in floats], 1 - decay)
        for name in state.keys() - set(floats):
            self.average[name].copy_(state[name])

    def validate(self, *, final: bool = False) -> bool:
        """Validate, save the best weights (the ``final`` ones, or raise), and return whether patience is exhausted."""
        if self.validation is None:
            return False
        former, self.validated_step = self.validated_step, self.step
        network = self.objective.network
        trained = {k: v.clone() for k, v in network.state_dict().items()} if self.average else None
        if trained is not None:
            network.load_state_dict(self.average)
        share_buffers(network, self.world)
        network.eval()
        try:
            with torch.no_grad(), torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.bf16):
                scores = mean_over_world(self.validation(network), self.world)
        finally:  # a case may vanish; what is saved then must not be the average
            if trained is not None:
                network.load_state_dict(trained)
            network.train()
        better = scores["score"] > self.best
        self.stale = 0 if better or self.step <= self.optimisation.warmup_steps else self.stale + 1
        if self.world.main:
            self.run.event("validation", step=self.step, best=better, **scores)
            listed = ", ".join(f"{name} {score:.4f}" for name, score in scores.items())
            self.run.log(f"Step {self.step}: {listed}{' (best)' if better else ''}")
        if better:
            beaten, self.best = self.best, scores["score"]
            if self.any_rank(not self.save("best")):
                # the file holds the weights of before, or none: neither this score nor this validation is recorded
                self.best, self.validated_step = beaten, former
                if final:
                    raise OutputError("The best weights cannot be written (see the log); free disk space and resume.")
        return self.patience_exhausted()

    def patience_exhausted(self) -> bool:
        """Return whether the last ``patience`` validations after the warm-up brought no improvement."""
        return 0 < self.schedule.patience <= self.stale

    def report(self, losses: dict[str, float], seconds: float) -> None:
        """Write the event of a step."""
        self.run.event(
            "step",
            step=self.step,
            lr=learning_rate(self.optimisation, self.step - 1),
            seconds=round(seconds, 4),
            samples_per_second=round(self.optimisation.batch / seconds, 4),
            remaining_s=round(seconds * (self.optimisation.steps - self.step)),
            memory_gib=round(peak_memory(self.world.device) / 2**30, 2),
            **{k: round(v, 6) for k, v in losses.items()},
        )
        self.heartbeat("running")

    def due(self, every: int) -> bool:
        return every > 0 and self.step % every == 0

    def any_rank(self, here: bool) -> bool:
        """Return True in every process if it is true in any of them."""
        return here if self.world.size == 1 else mean_over_world({"stop": float(here)}, self.world)["stop"] > 0

    def request_stop(self) -> None:
        self.stop_requested = True
