"""The two sides of `train.py`, each a process: steps of ours, steps of TRL's, when they are asked for.

Nothing but the standard library is imported until a side is chosen, so that any interpreter can be the peer's.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import resource
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

SHAPE = {
    "model_type": "qwen3",
    "vocab_size": 4096,
    "hidden_size": 256,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "intermediate_size": 672,
    "max_position_embeddings": 2048,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
}
LR = 1e-6
PARTS = ("generate", "score")
Report = dict[str, Any]


def work(side: str, settings: str) -> None:
    """Be one side: say what one is, then make a step whenever one is asked."""
    given = Namespace(**json.loads(settings))
    given.folder = Path(given.folder)
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed goes to the terminal
    if side == "prepare":
        _say(channel, {"parameters": prepare(given)})
    else:
        {"ours": ours, "theirs": theirs}[side](given, channel)


def _say(channel: TextIO, report: Report) -> None:
    channel.write(json.dumps(report) + "\n")
    channel.flush()


def _asked() -> bool:
    """Whether another step is wanted."""
    return sys.stdin.readline().strip() == "step"


def _peak() -> float:
    """The most memory that this process has held so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def reward(text: str) -> float:
    """What both sides are paid for: the share of the letter e."""
    return text.count("e") / max(1, len(text))


def prepare(given: Namespace) -> int:
    """Write the weights, a vocabulary and the prompts; returns the number of weights.

    The end of text is an id that the network does not have, so that no sample ends before its time and neither side
    needs a rule for it.
    """
    from random import Random

    import torch

    from denken.chat import template
    from denken.model import checkpoint
    from denken.model.config import ModelConfig
    from denken.model.transformer import Transformer
    from denken.rollout import prompt_ids
    from denken.tokenizer import Tokenizer, byte_characters
    from denken.types import Problem

    torch.manual_seed(0)
    model = Transformer(ModelConfig.from_hf(SHAPE))
    checkpoint.save(model, given.folder)

    characters = {byte: character for character, byte in byte_characters().items()}
    entries = [characters[byte] for byte in range(256)]
    control = ["<｜▁pad▁｜>", template.BOS, template.USER, template.ASSISTANT, template.THINK, template.END_THINK]
    rng = Random(0)
    words = dict.fromkeys(
        "".join(rng.choices("abcdefghiklmnoprstuw", k=rng.randint(3, 7))) for _ in range(2 * SHAPE["vocab_size"])
    )
    words_wanted = SHAPE["vocab_size"] - len(entries) - len(control)
    entries += [characters[ord(" ")] + word for word in itertools.islice(words, words_wanted)]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    spec = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": len(entries) + i, "content": name} | flags for i, name in enumerate([*control, template.EOS])
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": {entry: i for i, entry in enumerate(entries)}, "merges": []},
    }
    spec["model"] |= {"ignore_merges": True}
    names = {"bos_token": template.BOS, "eos_token": template.EOS, "pad_token": control[0]}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    (given.folder / "tokenizer.json").write_text(json.dumps(spec), encoding="utf-8")
    (given.folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    eos = len(entries) + len(control)
    (given.folder / "generation_config.json").write_text(json.dumps({"eos_token_id": eos}), encoding="utf-8")

    tokenizer = Tokenizer.load(given.folder)
    spelt = {id_: name for name, id_ in tokenizer.control_ids.items()}
    pool = list(itertools.islice(words, words_wanted))
    prompts = []
    for _ in range(given.prompts):
        text = ""
        ids: tuple[int, ...] = ()
        while len(ids) < given.prompt_tokens:
            text += " " + rng.choice(pool)
            ids = prompt_ids(Problem("benchmark", text, "", 0), tokenizer, thinking=False)
        assert len(ids) == given.prompt_tokens
        written = "".join(spelt.get(id_) or tokenizer.decode([id_]) for id_ in ids)
        prompts.append({"content": text, "text": written, "ids": ids})
    (given.folder / "prompts.json").write_text(json.dumps(prompts), encoding="utf-8")
    return sum(parameter.numel() for parameter in model.parameters())


def ours(given: Namespace, channel: TextIO) -> None:
    """Steps of `denken.train.grpo.GRPO`, made from a recipe."""
    from unittest.mock import patch

    import torch

    import denken
    from denken.config import Recipe
    from denken.tokenizer import Tokenizer
    from denken.train.folder import complete
    from denken.train.grpo import GRPO
    from denken.train.parallel import Mesh
    from denken.types import Problem, Score

    torch.set_num_threads(given.threads)
    imported = _peak()
    prompts = json.loads((given.folder / "prompts.json").read_text(encoding="utf-8"))

    class Letters:
        """The prompts in turn, each step all of them."""

        name = "benchmark"
        turn = itertools.cycle(range(len(prompts)))

        def problem(self, seed: int) -> Problem:
            return Problem(self.name, prompts[next(self.turn)]["content"], "", seed)

        def score(self, problem: Problem, answer: str) -> Score:
            return Score(reward(answer))

    recipe = given.folder / "ours.toml"
    recipe.write_text(
        f"""
        name = "benchmark"
        [rl]
        problems = {given.prompts}
        group = {given.group}
        max_tokens = {given.new}
        thinking = false
        kl = 0.0
        [[rl.tasks]]
        task = "plain:sums"
        [optim]
        name = "adamw"
        lr = {LR}
        schedule = "linear"
        warmup = 0
        [train]
        steps = 1000000
        dtype = "{given.dtype}"
        micro_tokens = {given.micro_tokens}
        init_from = {json.dumps(str(given.folder))}
        """,
        encoding="utf-8",
    )
    # Our prompts for the recipe's task, and no id that ends a sample.
    with patch.multiple("denken.train.grpo", get=lambda *_: Letters(), _eos_ids=lambda _: set()):
        grpo = GRPO(
            complete(Recipe.load(recipe), given.folder, given.folder),
            Mesh(),
            Tokenizer.load(given.folder),
            given.folder,
        )
    versions = f"denken {denken.__version__}, torch {torch.__version__}, Python {platform.python_version()}"
    _say(channel, {"name": "denken", "versions": versions})
    while _asked():
        began = time.perf_counter()
        result = grpo.step()
        seconds = time.perf_counter() - began
        metrics = result.metrics
        _say(
            channel,
            {"seconds": seconds, "sampled": metrics["sampled"], "entropy": metrics["entropy"]} | result.tally.seconds,
        )
    _say(channel, {"peak": _peak(), "above_imports": _peak() - imported})


def theirs(given: Namespace, channel: TextIO) -> None:
    """Steps of `trl.GRPOTrainer`."""
    import datasets
    import torch
    import transformers
    import trl
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

    torch.set_num_threads(given.threads)
    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    GRPOTrainer, GRPOConfig = trl.GRPOTrainer, trl.GRPOConfig  # their modules are imported on first use
    imported = _peak()
    prompts = json.loads((given.folder / "prompts.json").read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(given.folder)
    texts = [prompt["text"] for prompt in prompts]
    assert tokenizer(text=texts)["input_ids"] == [prompt["ids"] for prompt in prompts], "other prompts"
    bf16 = given.dtype == "bf16"
    weights = torch.bfloat16 if bf16 and given.peer_bf16 == "weights" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(given.folder, dtype=weights)
    rows = given.prompts * given.group
    batch = given.peer_batch or rows
    timer = Timer()
    config = GRPOConfig(
        output_dir=str(given.folder / "trl"),
        use_cpu=True,
        bf16=bf16 and given.peer_bf16 == "autocast",
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=rows // batch,
        num_generations=given.group,
        max_completion_length=given.new,
        temperature=1.0,
        beta=0.0,
        loss_type="grpo",
        learning_rate=LR,
        gradient_checkpointing=False,
        logging_steps=1,
        max_steps=1_000_000,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )

    class Turns(TrainerCallback):  # type: ignore[misc]
        """Waits after each step until another is wanted, and reports the one before."""

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if "completions/mean_length" not in (logs or {}) and state.global_step:
                return  # the summary of a run that has been told to stop
            if state.global_step:
                self.report(logs)
            if _asked():
                timer.begin()
            else:
                _say(channel, {"peak": _peak(), "above_imports": _peak() - imported})
                control.should_training_stop = True

        def report(self, logs: Any) -> None:
            seconds = time.perf_counter() - timer.began
            parts = {name: timer.parts.get(name, 0.0) for name in PARTS}
            sampled = round(logs["completions/mean_length"] * rows)
            learn = seconds - sum(parts.values())
            _say(
                channel,
                {"seconds": seconds, "sampled": sampled, "entropy": logs["entropy"], "learn": learn} | parts,
            )

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.on_log(args, state, control)

    trainer = GRPOTrainer(
        model=model,
        args=config,
        processing_class=tokenizer,
        reward_funcs=lambda completions, **_: [reward(text) for text in completions],
        train_dataset=datasets.Dataset.from_dict({"prompt": texts}),
        callbacks=[Turns()],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer._generate = timer.of("generate", trainer._generate)
    trainer._calculate_rewards = timer.of("score", trainer._calculate_rewards)
    versions = f"TRL {trl.__version__}, transformers {transformers.__version__}, torch {torch.__version__}"
    setting = f"; TRL with {batch} rows a backward" + (f", bf16 {given.peer_bf16}" if bf16 else "")
    _say(channel, {"name": f"TRL {trl.__version__}", "versions": versions + setting})
    trainer.train()


class Timer:
    """Seconds since `begin`, and within some of the functions that were called."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.began, self.parts = time.perf_counter(), dict[str, float]()

    def of(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, timed."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.within(name):
                return function(*args, **kwargs)

        return timed

    @contextmanager
    def within(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.parts[name] = self.parts.get(name, 0.0) + time.perf_counter() - began


if __name__ == "__main__":
    work(*sys.argv[1:])
