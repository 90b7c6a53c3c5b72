"""Runs that are killed: two small recipes, and a process that sends itself SIGKILL at the n-th thing that it does.

An event is the beginning or the end of a phase of a step, half a line in a log, a file about to be flushed to the disk,
a folder about to get its name or to go. Processes are forked from one that has imported everything, so that a run takes
no longer than its training.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from small_vocabulary import write_tokenizer

MODEL = """
seed = 5
[model]
model_type = "qwen3"
vocab_size = {vocabulary}
hidden_size = 16
intermediate_size = 24
num_hidden_layers = 2
num_attention_heads = 2
num_key_value_heads = 1
head_dim = 8
max_position_embeddings = 256
tie_word_embeddings = true
[tokenizer]
path = {tokenizer}
[train]
threads = 1
dtype = "fp32"
checkpoint_every_s = 0
checkpoint_every = 2
"""
# Rewards that random weights earn now and then, so that there is something to learn.
TASK = '''
from denken.types import Problem, Score
class Letters:
    """Answers with many different characters."""
    name = "letters"
    def problem(self, seed):
        return Problem(self.name, f"Say {seed % 7}.", "", seed)
    def score(self, problem, answer):
        return Score(len(set(answer)) % 5 / 4)
'''
REWARDS = """
steps = 7
log_every = 1
eval_every = 3
[rl]
problems = 2
group = 4
max_tokens = 12
thinking = false
temperature = 0.9
top_k = 40
kl = 0.01
reference_every = 3
minibatches = 2
eval_problems = 2
[[rl.tasks]]
task = {task}
[optim]
warmup = 1
lr = 0.01
"""
SET = """
epochs = 3
batch_tokens = 256
micro_tokens = 128
log_every = 1
eval_every = 4
eval_documents = 2
[data]
widths = [64, 128]
open_rows = 1
sources = [{{ jsonl = {set} }}]
[optim]
warmup = 1
lr = 0.01
"""
# What depends on the clock, in logs and ledgers.
TIMES = ("seconds", "split", "tokens_per_s", "core_seconds", "generate_seconds", "learn_seconds", "joules")


def recipes(folder: Path) -> dict[str, Path]:
    """The two recipes: "grpo", which learns from rewards, and "sft", from a small set that is read three times."""
    tokenizer = write_tokenizer(folder / "tokenizer", words=["the", " the", "think"])
    spec = json.loads((tokenizer / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = len(spec["model"]["vocab"]) + len(spec["added_tokens"])
    (folder / "letters.py").write_text(TASK, encoding="utf-8")
    with (folder / "set.jsonl").open("w", encoding="utf-8") as stream:
        for number in range(13):
            answer = {"role": "assistant", "reasoning_content": "it is " * (number % 4), "content": str(number)}
            messages = [{"role": "user", "content": f"What is {number}?"}, answer]
            stream.write(json.dumps({"messages": messages, "task": "plain:sums", "seed": 1000 + number}) + "\n")
    paths = {}
    for name, kind in (("grpo", REWARDS), ("sft", SET)):
        places = {"task": folder / "letters.py", "set": folder / "set.jsonl", "tokenizer": tokenizer}
        text = (MODEL + kind).format(vocabulary=vocabulary, **{key: json.dumps(str(p)) for key, p in places.items()})
        paths[name] = folder / f"{name}.toml"
        paths[name].write_text(f'name = "{name}"\n{text}', encoding="utf-8")
    return paths


def train(recipe: Path, run: Path, *, kill_at: int = 0, of: str | None = None, events: Path | None = None) -> int:
    """Run a recipe in a process of its own, to its end or to event number `kill_at`; returns the exit code.

    of: the events that are counted; None: all. events: where to write the names of all events, one a line.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killing", "denken.train.grpo", "denken.train.pretrain"])
    process = context.Process(target=_train, args=(str(recipe), str(run), kill_at, of, str(events) if events else ""))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def blank_curves(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """In place of `draw_curves`: the picture is blank, and comes as a drawn one does."""
    if any("loss" in record for record in records):
        path.with_suffix(".tmp").write_bytes(b"\x89PNG\r\n\x1a\n")
        os.replace(path.with_suffix(".tmp"), path)


KILLED = -signal.SIGKILL


def _train(recipe: str, run: str, kill_at: int, of: str | None, events: str) -> None:
    import denken.train
    from denken.train import checkpoint, folder, grpo, runlog
    from denken.train.watchdog import Watchdog

    os.environ["OMP_NUM_THREADS"] = "1"
    seen: list[str] = []

    def event(name: str) -> None:
        seen.append(name)
        if of in (None, name) and sum(of in (None, each) for each in seen) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def announced(owner: Any, name: str, label: Callable[..., str]) -> None:
        """Make a call of `owner.name` an event before it does anything."""
        call = getattr(owner, name)

        def announcing(*arguments: Any, **named: Any) -> Any:
            event(label(*arguments))
            return call(*arguments, **named)

        setattr(owner, name, announcing)

    phase = Watchdog.phase

    @contextmanager
    def announced_phase(self: Watchdog, name: str) -> Iterator[None]:
        with phase(self, name):
            event(f"{name} begins")
            yield
            event(f"{name} ends")

    def torn(name: str) -> Callable[[runlog.RunLog, Any], None]:
        def append(self: runlog.RunLog, values: Any) -> None:
            lines = [values] if name == "metrics.jsonl" else values
            with (self.folder / name).open("ab", buffering=0) as stream:
                for each in lines:
                    data = runlog._line(each).encode()
                    stream.write(data[: len(data) // 2])
                    event(f"half a line is in {name}")
                    stream.write(data[len(data) // 2 :])

        return append

    setattr(Watchdog, "phase", announced_phase)  # noqa: B010
    setattr(runlog.RunLog, "record", torn("metrics.jsonl"))  # noqa: B010
    setattr(runlog.RunLog, "rollouts", torn("rollouts.jsonl"))  # noqa: B010
    for module in (runlog, grpo):
        setattr(module, "draw_curves", blank_curves)  # noqa: B010
    announced(checkpoint, "_flush", lambda path: f"{_shown(path)} is written")
    announced(Path, "rename", lambda _, to: f"{_shown(to)} gets its name")
    announced(os, "replace", lambda _, to: f"{_shown(to)} gets its name")
    announced(folder.shutil, "rmtree", lambda path: f"{_shown(path)} goes")
    denken.train.run(recipe, run_dir=run)
    if events:
        Path(events).write_text("\n".join(seen), encoding="utf-8")


def _shown(path: str | Path) -> str:
    """A path without the number of the process that may be part of it."""
    parts = Path(path).parts[-2:]
    return "/".join(part.rpartition(".")[0] if part.startswith(".step-") else part for part in parts)


def prints(run: Path) -> dict[str, str]:
    """SHA-256 of everything that must not depend on whether a run was killed: tensors and state of the newest
    checkpoint, the exported model's tensors, logs and rollouts without times."""
    from safetensors.torch import load_file

    newest = max((run / "checkpoints").glob("step-*"), key=lambda path: int(path.name[5:]))
    found = {f"{newest.name}/{file.name}": _sha(file.read_bytes()) for file in newest.glob("*.safetensors")}
    found["state.json"] = _sha(_timeless(json.loads((newest / "state.json").read_text(encoding="utf-8"))))
    found["ledger.json"] = _sha(_timeless(json.loads((run / "ledger.json").read_text(encoding="utf-8"))))
    for name in ("metrics.jsonl", "rollouts.jsonl"):
        if (run / name).exists():
            lines = (run / name).read_text(encoding="utf-8").splitlines()
            found[name] = _sha(*(_timeless(json.loads(line)) for line in lines))
    # Its header has a number of its own for every time it is saved.
    model = load_file(run / "model" / "model.safetensors")
    found["model"] = _sha(*(part for name in sorted(model) for part in (name, model[name].numpy().tobytes())))
    return found


def _timeless(values: dict[str, Any]) -> str:
    ledger = values.get("ledger")
    kept = {key: value for key, value in values.items() if key not in (*TIMES, "usd")}
    if isinstance(ledger, dict):
        kept["ledger"] = {key: value for key, value in ledger.items() if key not in TIMES}
    return json.dumps(kept, sort_keys=True)


def _sha(*parts: bytes | str) -> str:
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part if isinstance(part, bytes) else part.encode())
    return sha.hexdigest()
