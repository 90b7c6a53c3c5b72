"""Next-token training with masks: pre-training and supervised fine-tuning are this one loop.

`Trainer.step` is the whole idea; around it `train` reads the recipe, resumes, logs, saves and stops. The documents,
with what is learnt of each, come from `denken.train.data`; packing is `batch`, the update is `optim`, processes are
`parallel`, files are `checkpoint`, `runlog` and `ledger`.

A run's folder: recipe.toml, environment.json, metrics.jsonl, curves.png, ledger.json, checkpoints/step-N (to resume
from) and model/ (the latest weights as a Hugging Face folder, to try while training goes on).
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from denken.config import Recipe
from denken.errors import ConfigError
from denken.model.config import ModelConfig
from denken.model.transformer import Transformer
from denken.tokenizer import Tokenizer
from denken.train import checkpoint, session
from denken.train.attend import packed
from denken.train.batch import Batch, Packer, next_of
from denken.train.data import documents, mixture_of
from denken.train.feed import Ahead, Reader, Work, fresh
from denken.train.folder import (
    copy_weights,
    export,
    start_from,
)
from denken.train.ledger import Ledger, Price
from denken.train.loss import cross_entropy, select_targets, sums_by_source
from denken.train.optim import lr_factor
from denken.train.parallel import Mesh
from denken.train.runlog import RunLog
from denken.train.shape import model_config
from denken.train.timing import cores as cores_here

EVALUATION_SEED = 900_000_000

# Sums that travel with the gradients, in this order.
STATS = ("targets", "loss", "tokens", "context", "stop", "save", "gone")


def train(
    recipe_path: str | Path, *, run_dir: str | Path | None = None, resume: bool = True, scale: float = 1.0
) -> Path:
    """Train what the recipe describes and return the run's folder (`runs/NAME` by default).

    A run that stopped, for whatever reason, goes on where its newest checkpoint is. With resume=False a folder that
    already holds checkpoints is an error. ConfigError, CheckpointError and DenkenError (the loss is no number) say
    what to do.
    """
    return session.start(recipe_path, Trainer, _loop, run_dir=run_dir, resume=resume, scale=scale)


@dataclass(slots=True)
class StepResult:
    """What one step did, over all processes. loss: mean natural-log loss of a target."""

    loss: float
    grad_norm: float
    lr: float
    tokens: int
    targets: int
    context: int
    stop: bool
    save: bool


@dataclass(slots=True)
class Window:
    """Sums since the last log line."""

    loss: float = 0.0
    targets: int = 0
    tokens: int = 0
    started: float = field(default_factory=time.monotonic)


class Trainer:
    """The network, its optimiser and its lanes of documents, in one process of a `Mesh`."""

    def __init__(self, recipe: Recipe, mesh: Mesh, tokenizer: Tokenizer, start: Path | None = None) -> None:
        """recipe: complete, with its [model]. start: the folder that `init_from` means."""
        self.recipe, self.mesh, self.tokenizer = recipe, mesh, tokenizer
        settings = recipe.train
        self.device = session.device(recipe)
        readers = settings.readers or max(1, min(14, cores_here() - 2))
        self.lane_count = settings.lanes or (readers if self.device.type == "cuda" else mesh.world)
        if self.lane_count % mesh.world:
            raise ConfigError(
                f"lanes = {self.lane_count} cannot be dealt to {mesh.world} processes; give a multiple of processes."
            )
        torch.manual_seed(recipe.seed)
        self.config = model_config(recipe.model)
        _check_sizes(recipe, self.config, tokenizer)
        self.model = Transformer(self.config)
        if start is not None:
            start_from(self.model, start, settings.init_layers)
        self.model.to(self.device)
        self.price = Price.of(self.model.named_parameters(), recipe.model)
        self.optimizer = session.optimizer(self.model, recipe, mesh, stats=len(STATS), start=start)
        self.hidden: Callable[..., Tensor] = self.model.hidden
        if settings.compile:
            # One program a width; beyond this limit the compiler would quietly give up.
            torch._dynamo.config.recompile_limit = max(8, 2 * len(recipe.data.widths))
            self.hidden = torch.compile(self.model.hidden, dynamic=False)
        share = settings.batch_tokens // self.lane_count
        self.micro_tokens = min(settings.micro_tokens, share)
        self.micro_batches = max(1, round(share / self.micro_tokens))
        self.lanes: dict[int, Packer | Reader] = {}
        self.ahead: Ahead | None = None
        self.open_lanes(dict.fromkeys(self.my_lanes, 0))
        self.done = 0
        self.per_source: dict[str, list[float]] = {}
        self.waiting: list[tuple[tuple[str, ...], Tensor]] = []

    @property
    def parameters(self) -> int:
        return self.optimizer.size

    @property
    def my_lanes(self) -> range:
        return range(self.mesh.rank, self.lane_count, self.mesh.world)

    def open_lanes(self, cursors: dict[int, int]) -> None:
        """Point each lane at its stream of documents; a cursor counts the documents the lane has taken."""
        for lane, cursor in cursors.items():
            if self.device.type == "cuda":
                self.lanes[lane] = self.reader(lane, cursor)
                continue
            packer = self.packer(self.recipe.seed, lane + cursor * self.lane_count, self.lane_count)
            packer.cursor = cursor
            self.lanes[lane] = packer

    def reader(self, lane: int, cursor: int) -> Reader:
        """A lane that another process packs. On a GPU documents cost what they are, so all rows are of the widest."""
        data = self.recipe.data
        names = tuple(sorted({source.name for source in mixture_of(data.sources).sources}))
        widest, seed, tokenizer = data.widths[-1], self.recipe.seed, str(self.tokenizer.folder)
        place = (data.sources, tokenizer, seed, lane, self.lane_count, (widest,), self.micro_tokens, data.open_rows)
        return Reader(Work(*place, names=names, state=fresh(cursor)))

    def packer(self, seed: int, start: int, stride: int) -> Packer:
        data = self.recipe.data
        stream = documents(data.sources, self.tokenizer, seed=seed, start=start, stride=stride)
        return Packer(stream, data.widths, self.micro_tokens, open_rows=data.open_rows)

    def batches(self) -> Iterator[Batch]:
        """What one step learns from in this process."""
        if self.device.type == "cuda":
            if self.ahead is None:
                lanes = {lane: reader for lane, reader in self.lanes.items() if isinstance(reader, Reader)}
                self.ahead = Ahead(lanes, self.micro_batches, self.recipe.train.micro_tokens, self.device)
            yield from self.ahead.take()
            return
        for lane in self.lanes.values():
            for _ in range(self.micro_batches):
                yield next_of(lane)

    def close(self) -> None:
        """End the processes that read documents."""
        if self.ahead is not None:
            self.ahead.close()

    def step(self, stop: bool = False, save: bool = False, gone: float = 0.0) -> StepResult:
        """One update: every process learns from its lanes, gradients are summed, the weights move.

        gone: the share of the run's time that has passed.
        """
        phase = self.mesh.watchdog.phase
        self.mesh.watchdog.beat(self.done + 1)
        batches = self.batches()
        while True:
            with phase("read documents"):
                batch = next(batches, None)
            if batch is None:
                break
            with phase("learn"):
                self.learn(batch)
        stats = self.optimizer.stats
        stats[STATS.index("gone")] = gone / self.mesh.world
        stats[STATS.index("stop")] = float(stop)
        stats[STATS.index("save")] = float(save)
        self.optimizer.reduce(self.mesh.sum_)
        sums = dict(zip(STATS, stats.tolist(), strict=True))
        loss = sums["loss"] / max(1.0, sums["targets"])
        if not math.isfinite(loss):
            raise session.diverged(self.done, loss)
        self.optimizer.gradient.div_(max(1.0, sums["targets"]))
        factor = lr_factor(self.done, self.recipe.train.total_steps, self.recipe.optim, gone=sums["gone"])
        with phase("update"):
            norm = self.optimizer.step(factor, self.mesh.sum_)
        if not math.isfinite(norm):
            raise session.diverged(self.done, norm)
        self.done += 1
        counts = {name: round(sums[name]) for name in ("tokens", "targets", "context")}
        lr = self.recipe.optim.lr * factor
        return StepResult(loss, norm, lr, stop=sums["stop"] > 0, save=sums["save"] > 0, **counts)

    def learn(self, batch: Batch) -> None:
        """Forward and backward of one batch; gradients of the summed loss go to the buffer."""
        losses_N = self.losses(batch)
        loss = losses_N.sum()
        loss.backward()
        self.optimizer.collect()
        # On a GPU nothing here waits for the numbers.
        sums = torch.tensor((losses_N.shape[0], 0.0, batch.tokens, batch.context))
        stats = self.optimizer.stats[: len(sums)]
        stats += sums.to(self.device, non_blocking=True)
        stats[STATS.index("loss")] += loss.detach()

    def losses(self, batch: Batch) -> Tensor:
        """The loss of every target of a batch; also added up per source."""
        # The rows of a look at unseen documents vary in number: not worth a compiled program each.
        hidden = self.hidden if torch.is_grad_enabled() else self.model.hidden
        hidden_BTD = hidden(batch.ids_BT, batch.positions_BT, packed(batch.segments_BT, batch.starts_S))
        hidden_ND, targets_N, index_N = select_targets(hidden_BTD, batch.targets_BT, batch.kept_N, multiple=256)
        losses_N = cross_entropy(self.model.logits(hidden_ND), targets_N)[: len(index_N)]
        sources_N = batch.sources_BT.flatten()[index_N]
        losses_S, targets_S = sums_by_source(losses_N.detach(), sources_N, len(batch.sources))
        self.waiting.append((batch.sources, torch.stack((losses_S, targets_S))))
        if self.device.type == "cpu":
            self._count_sources()
        return losses_N

    def _count_sources(self) -> None:
        """Add up what is known of each source by now; on a GPU this waits for it."""
        for sources, sums_2S in self.waiting:
            for source, loss, targets in zip(sources, *sums_2S.tolist(), strict=True):
                sums = self.per_source.setdefault(source, [0.0, 0.0])
                sums[0] += loss
                sums[1] += targets
        self.waiting = []

    def take_sources(self) -> dict[str, float]:
        """Mean loss per source over all processes since this was last called."""
        self._count_sources()
        total: dict[str, list[float]] = {}
        for part in self.mesh.gather(self.per_source):
            for source, (loss, targets) in part.items():
                sums = total.setdefault(source, [0.0, 0.0])
                sums[0] += loss
                sums[1] += targets
        self.per_source = {}
        return {source: loss / targets for source, (loss, targets) in sorted(total.items()) if targets}

    @torch.no_grad()
    def evaluate(self) -> tuple[float, dict[str, float]]:
        """Mean loss, and per source, on what training never sees: the first of the set that is held out, or else
        documents of another seed, as difficult as today's."""
        self._count_sources()
        kept, self.per_source = self.per_source, {}
        share = max(1, self.recipe.train.eval_documents // self.mesh.world)
        furthest = max((lane.cursor for lane in self.lanes.values()), default=0)
        start = max(self.mesh.gather(furthest)) * self.lane_count
        sources, own = self.recipe.data.sources, self.recipe.data.held_out
        if own is not None:
            start, sources = 0, {"sources": [{"jsonl": own}]}
        stream = documents(
            sources,
            self.tokenizer,
            seed=EVALUATION_SEED + self.recipe.seed,
            start=start + self.mesh.rank,
            stride=self.mesh.world,
        )
        taken = [document for document, _ in zip(stream, range(share), strict=False)]
        rows = Packer(taken, self.recipe.data.widths, self.micro_tokens, open_rows=self.recipe.data.open_rows)
        sums = torch.zeros(2)
        for batch in rows.drain():
            losses_N = self.losses(batch if self.device.type == "cpu" else batch.on(self.device))
            sums += torch.tensor((float(losses_N.sum()), losses_N.shape[0]))
        self.mesh.sum_(sums)
        per_source = self.take_sources()
        self.per_source = kept
        return float(sums[0] / sums[1].clamp(min=1)), per_source

    def state(self, ledger: Ledger) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
        """Everything a bit-exact continuation needs: JSON values and tensors. Every process must call it."""
        if self.ahead is not None:
            mine = self.ahead.state()
        else:
            mine = {lane: packer.state() for lane, packer in self.lanes.items() if isinstance(packer, Packer)}
        gathered = self.mesh.gather((mine, torch.get_rng_state()))
        lanes = {str(lane): state for part, _ in gathered for lane, state in part.items()}
        state = {
            "format": 1,
            "step": self.done,
            "ledger": asdict(ledger),
            "lanes": lanes,
            "recipe": self.recipe.model_dump(mode="json"),
            "tokenizer": session.tokenizer_hash(self.tokenizer),
        }
        tensors = {
            "weights": {name: weight.cpu() for name, weight in self.optimizer.weights().items()},
            "optimizer": {name: momentum.cpu() for name, momentum in self.optimizer.state().items()},
            "rng": {f"torch.{rank}": rng for rank, (_, rng) in enumerate(gathered)},
        }
        return state, tensors

    def restore(self, saved: checkpoint.Saved, warn: Callable[[str], None]) -> Ledger:
        """Continue from a checkpoint; what the recipe changed meanwhile is said through `warn`."""
        session.compare(saved.state["recipe"], self.recipe.model_dump(mode="json"), warn)
        same_ids = saved.state["tokenizer"] == session.tokenizer_hash(self.tokenizer)
        if not same_ids:
            warn(
                "the tokenizer has changed since the checkpoint; documents that were waiting to be packed are dropped."
            )
        copy_weights(self.optimizer.masters, self.optimizer.own(saved.tensors["weights"]), str(saved.folder))
        self.optimizer.publish()
        self.optimizer.restore(saved.tensors["optimizer"])
        self.done = saved.state["step"]
        rng = saved.tensors["rng"].get(f"torch.{self.mesh.rank}")
        if rng is not None:
            torch.set_rng_state(rng)
        states = saved.state["lanes"]
        if len(states) == self.lane_count:
            self.open_lanes({lane: states[str(lane)]["cursor"] for lane in self.my_lanes})
            for lane in self.my_lanes:
                self.lanes[lane].restore(states[str(lane)], rows=same_ids)
        else:
            furthest = max(state["cursor"] for state in states.values()) * len(states)
            warn(
                f"the checkpoint has {len(states)} lanes of documents and the recipe {self.lane_count}; "
                f"all go on at document {furthest}."
            )
            self.open_lanes(dict.fromkeys(self.my_lanes, -(-furthest // self.lane_count)))
        return Ledger(**saved.state["ledger"])


def _loop(trainer: Trainer, ledger: Ledger, folder: Path, stopping: Callable[[], bool], log: RunLog | None) -> None:
    """`_steps`, and whoever reads documents for them is gone afterwards."""
    try:
        _steps(trainer, ledger, folder, stopping, log)
    finally:
        trainer.close()


def _steps(trainer: Trainer, ledger: Ledger, folder: Path, stopping: Callable[[], bool], log: RunLog | None) -> None:
    """Step, count, log and save until the budget is spent or somebody asks to stop. Only rank 0 has a log."""
    settings, total = trainer.recipe.train, trainer.recipe.train.total_steps
    if trainer.done >= total:
        return
    on_gpu = trainer.device.type == "cuda"
    cores = 0 if on_gpu else trainer.mesh.world * torch.get_num_threads()
    window = Window()
    before = saved_at = time.monotonic()
    recent: deque[tuple[float, int]] = deque(maxlen=20)
    while trainer.done < total:
        due = log is not None and time.monotonic() - saved_at >= settings.checkpoint_every_s > 0
        result = trainer.step(stop=stopping(), save=due, gone=ledger.seconds / settings.most_seconds)

        now = time.monotonic()
        took, before = now - before, now
        recent.append((took, result.tokens))
        pace = sum(seconds for seconds, _ in recent) / len(recent)
        ledger.tick(took, cores, int(on_gpu))
        ledger.tokens += result.tokens
        ledger.targets += result.targets
        ledger.flops += trainer.price.flops(result.tokens, result.targets, result.context)
        window.loss += result.loss * result.targets
        window.targets += result.targets
        window.tokens += result.tokens

        step, last = trainer.done, trainer.done == total or result.stop
        if log is not None:
            speed = sum(tokens for _, tokens in recent) / (len(recent) * pace)
            log.progress(step, result.loss, speed, (total - step) * pace)
        if step % settings.log_every == 0 or last:
            losses = trainer.take_sources()
            if log is not None:
                log.record(_metrics(step, window, result, losses, ledger))
            window = Window()
        if settings.eval_every and step % settings.eval_every == 0:
            with trainer.optimizer.whole(), trainer.mesh.watchdog.phase("evaluate"):
                loss, losses = trainer.evaluate()
            if log is not None:
                log.record({"step": step, "eval_loss": loss, "eval_losses": losses})
        if result.save or last or (settings.checkpoint_every and step % settings.checkpoint_every == 0):
            with trainer.mesh.watchdog.phase("save"):
                save(trainer, ledger, folder, log, final=last)
            saved_at = time.monotonic()
        if result.stop and step < total:
            if log is not None:
                log.say(session.ended(step, settings, ledger.seconds))
            return
    if log is not None:
        log.say(
            f"Done: {ledger.tokens:,} tokens in {ledger.seconds / 60:.1f} min, {ledger.flops:.2e} FLOPs, "
            f"{ledger.priced(trainer.recipe.cost)}. The model is in {folder / 'model'}."
        )


def save(trainer: Trainer, ledger: Ledger, folder: Path, log: RunLog | None, *, final: bool) -> None:
    """A checkpoint, the weights as a Hugging Face folder, the ledger and the curves. Every process must call it."""
    state, tensors = trainer.state(ledger)
    if log is not None:
        export(trainer.optimizer.network(trainer.model, tensors["weights"]), trainer.tokenizer, folder)
        trainer.optimizer.leave(folder)
        _tell_dropped(state["lanes"], trainer.recipe.data.widths[-1], log)
        ledger.write(folder / "ledger.json", trainer.recipe.cost)
        log.curves(final=final)
        # Last, since what a kill leaves undone before it is done again, and what it leaves undone after it is not.
        checkpoint.save(folder / "checkpoints", trainer.done, state, tensors, keep=trainer.recipe.train.keep)
    trainer.mesh.wait()


def _tell_dropped(lanes: dict[str, Any], widest: int, log: RunLog) -> None:
    dropped = sum(lane["dropped"] for lane in lanes.values())
    empty = sum(lane["empty"] for lane in lanes.values())
    taken = sum(lane["cursor"] for lane in lanes.values())
    if dropped:
        log.warn_once(
            f"{dropped} of {taken} documents were longer than the widest row ({widest} tokens) and were dropped; "
            "a larger last entry of widths keeps them."
        )
    if empty:
        log.warn_once(f"{empty} of {taken} documents had nothing to learn and were dropped; see their masks.")


def _check_sizes(recipe: Recipe, config: ModelConfig, tokenizer: Tokenizer) -> None:
    if tokenizer.vocab_size > config.vocab_size:
        raise ConfigError(
            f"The tokenizer has {tokenizer.vocab_size} ids and the model {config.vocab_size}; "
            f"set vocab_size = {tokenizer.vocab_size} in the recipe's [model]."
        )
    if recipe.data.widths[-1] > config.max_position_embeddings:
        raise ConfigError(
            f"Rows of {recipe.data.widths[-1]} tokens are longer than the model's context of "
            f"{config.max_position_embeddings}; lower widths, or raise max_position_embeddings in [model]."
        )


def _metrics(step: int, window: Window, result: StepResult, losses: dict[str, float], ledger: Ledger) -> dict[str, Any]:
    seconds = time.monotonic() - window.started
    return {
        "step": step,
        "tokens": ledger.tokens,
        "loss": window.loss / max(1, window.targets),
        "lr": result.lr,
        "grad_norm": result.grad_norm,
        "tokens_per_s": window.tokens / max(seconds, 1e-9),
        "seconds": round(ledger.seconds, 3),
        "losses": losses,
    }
