"""Learning from rewards as a whole: resumed = uninterrupted, two processes = one, sampler = trainer, what is said."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from pathlib import Path

import pytest
import torch

import killing
from denken.config import Recipe
from denken.errors import CheckpointError, ConfigError, DenkenError
from denken.model.checkpoint import load
from denken.rollout import _Sample
from denken.tokenizer import Tokenizer
from denken.train import grpo, pretrain
from denken.train.curves import draw_curves
from denken.train.folder import BUNDLED, complete, load_tokenizer, start_of
from denken.train.grpo import GRPO, train
from denken.train.parallel import Mesh
from denken.train.watch import Watch

# Pays for how many different characters an answer has: even an untrained network finds some variance in that.
TASK = """
from denken.types import Problem, Score

class Different:
    name = "different"

    def problem(self, seed):
        return Problem(self.name, "Say " + "abcdefgh"[seed % 8] * (1 + seed % 5), "x", seed)

    def score(self, problem, answer):
        found = min(1.0, len(set(answer)) / 12)
        return Score(found, {"correct": float(found == 1.0)})
"""

RECIPE = """
name = "tiny"
seed = 3
[model]
model_type = "qwen3"
vocab_size = {vocab_size}
hidden_size = 16
intermediate_size = 24
num_hidden_layers = 2
num_attention_heads = 2
num_key_value_heads = 1
head_dim = 8
max_position_embeddings = 64
tie_word_embeddings = true
[tokenizer]
path = {tokenizer}
[rl]
problems = 4
group = 4
max_tokens = 10
thinking = false
kl = 0.01
reference_every = 4
eval_problems = 3
[[rl.tasks]]
task = {task}
[optim]
name = "adamw"
lr = 0.01
warmup = 2
[train]
steps = 7
dtype = "fp32"
micro_tokens = 100
threads = 1
checkpoint_every_s = 0
checkpoint_every = 2
eval_every = 3
log_every = 1
keep = 9
"""

# Where the kernel kills it: while it samples for step 4, or while step 4 is being saved; and which time it is.
KILLED_AT = {"generate begins": 4, ".step-4/weights.safetensors is written": 1}


@pytest.fixture(scope="module")
def recipe_text(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    task = tmp_path_factory.mktemp("task") / "different.py"
    task.write_text(TASK)
    return RECIPE.format(
        vocab_size=Tokenizer.load(tokenizer_folder).vocab_size,
        tokenizer=json.dumps(str(tokenizer_folder)),
        task=json.dumps(str(task)),
    )


@pytest.fixture
def recipe(tmp_path: Path, recipe_text: str) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_text)
    return path


def change(recipe: Path, *changes: tuple[str, str]) -> None:
    text = recipe.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    recipe.write_text(text)


def learner(recipe: Path) -> GRPO:
    whole = complete(Recipe.load(recipe), recipe.parent, recipe.parent / "run")
    return GRPO(whole, Mesh(), load_tokenizer(whole, recipe.parent), start_of(whole, recipe.parent, recipe.parent))


def lines(run: Path, name: str = "metrics.jsonl") -> list[dict]:
    return [json.loads(line) for line in (run / name).read_text().splitlines()]


def steps(run: Path) -> list[dict]:
    """The metrics of every step, but for what depends on the clock."""
    timed = {"split", "seconds"}
    return [{k: v for k, v in line.items() if k not in timed} for line in lines(run) if "reward" in line]


def state(run: Path, step: int) -> dict[str, str]:
    """What a checkpoint holds: a digest of every file of tensors, and the state but for the clock."""
    folder = run / f"checkpoints/step-{step}"
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.safetensors")}
    values = json.loads((folder / "state.json").read_text())
    del values["ledger"]
    return found | {"state": json.dumps(values)}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, recipe_text: str) -> Path:
    """The run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("straight")
    (folder / "recipe.toml").write_text(recipe_text)
    return train(folder / "recipe.toml", run_dir=folder / "run")


def test_a_run_leaves_what_it_should(straight: Path):
    found = steps(straight)
    assert [line["step"] for line in found] == list(range(1, 8))
    last = found[-1]
    assert last["groups"] == 4
    assert last["sampled"] == last["learnt"] > 0
    assert 0 < last["reward"] < 1
    assert last["parts"].keys() >= {"accuracy", "format", "language", "length", "correct"}
    assert last["length_max"] <= 10
    assert all(line["kl"] >= 0 for line in found)
    assert all(line["clipped"] == 0 and line["ratio_max"] == pytest.approx(1, abs=1e-4) for line in found)
    looked = [line for line in lines(straight) if "eval_accuracy" in line]
    assert [line["step"] for line in looked] == [0, 3, 6, 7]
    assert (straight / "curves.png").is_file()
    ledger = json.loads((straight / "ledger.json").read_text())
    assert ledger["sampled"] == sum(line["sampled"] for line in found)
    assert 0 < ledger["generate_seconds"] + ledger["learn_seconds"] <= ledger["seconds"]
    assert ledger["flops"] > ledger["sampling_flops"] > 0
    shown = lines(straight, "rollouts.jsonl")
    assert {line["step"] for line in shown} == set(range(1, 8))
    assert shown[0].keys() >= {"prompt", "thought", "answer", "reward", "parts", "advantage", "tokens"}


def test_its_curves_can_be_drawn(straight: Path, tmp_path: Path):
    draw_curves(lines(straight), tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 50_000


def test_the_model_folder_is_what_was_trained(straight: Path):
    model = load(straight / "model", dtype=torch.float32)
    saved = grpo.checkpoint.load(straight / "checkpoints/step-7").tensors["weights"]
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, saved[name])


def test_rewards_rise(recipe: Path, tmp_path: Path):
    change(
        recipe,
        ("steps = 7", "steps = 25"),
        ("kl = 0.01", "kl = 0.0"),
        ("eval_every = 3", ""),
        ("group = 4", "group = 8"),
    )
    found = steps(train(recipe, run_dir=tmp_path / "run"))
    first, last = (sum(line["reward"] for line in part) / 5 for part in (found[:5], found[-5:]))
    assert last > first + 0.03
    assert all(line["kl"] == 0 for line in found)


def test_killed_and_resumed_is_uninterrupted(straight: Path, recipe: Path, tmp_path: Path):
    run = tmp_path / "run"
    for event, time in KILLED_AT.items():
        assert killing.train(recipe, run, kill_at=time, of=event) == killing.KILLED
        assert max(int(path.name[5:]) for path in (run / "checkpoints").glob("step-*")) == 2
    with (run / "rollouts.jsonl").open("ab") as stream:
        stream.write('{"step": 4, "prompt": "ü'.encode()[:-1])  # torn in the middle of a character
    train(recipe, run_dir=run)
    for step in (4, 6, 7):
        assert state(run, step) == state(straight, step)
    assert steps(run) == steps(straight)
    assert lines(run, "rollouts.jsonl") == lines(straight, "rollouts.jsonl")


@pytest.mark.parametrize(
    "more", ["", "dynamic_sampling = true\nminibatches = 2\nalgorithm = 'dapo'"], ids=["grpo", "dapo"]
)
def test_two_processes_make_the_curve_of_one(recipe: Path, tmp_path: Path, more: str):
    change(recipe, ("steps = 7", "steps = 3"), ("[rl]", f"[rl]\n{more}"))
    one = train(recipe, run_dir=tmp_path / "one")
    change(recipe, ("steps = 3", "steps = 3\nprocesses = 2"))
    two = train(recipe, run_dir=tmp_path / "two")
    exact = ("step", "reward", "accuracy", "length", "length_max", "cut", "groups", "no_variance", "sampled", "learnt")
    close = ("loss", "kl", "entropy", "surprise", "grad_norm", "clipped", "reward_std")
    for ours, theirs in zip(steps(two), steps(one), strict=True):
        for name in exact:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-6), name
        for name in close:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3, abs=1e-6), name
    saved = [grpo.checkpoint.load(run / "checkpoints/step-3").tensors["weights"] for run in (one, two)]
    for name, tensor in saved[0].items():
        torch.testing.assert_close(saved[1][name], tensor, atol=2e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize(
    "more",
    ["", "top_p = 0.8", "top_k = 20\ntemperature = 0.7", "minibatches = 2\nimportance_cap = 2.0\ntop_p = 0.9"],
    ids=["whole", "top-p", "top-k", "importance"],
)
def test_the_trainer_knows_the_distribution_that_was_sampled(recipe: Path, more: str):
    change(recipe, ("[rl]", f"[rl]\n{more}"))
    made = learner(recipe)
    for _ in range(2):
        metrics = made.step().metrics
        assert metrics["parity_max"] <= 1e-5
        assert 0 < metrics["parity_mean"] <= metrics["parity_max"]


@pytest.mark.parametrize("more", ["", "top_p = 0.8"], ids=["whole", "top-p"])
def test_what_searches_found_is_read_by_all_and_learnt_by_none(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str
):
    """An untrained network writes no searches: every third id is taken for the end of one."""
    task = tmp_path / "searching.py"
    lookup = "\n    def lookup(self, problem):\n        return lambda query: problem.prompt\n"
    task.write_text(TASK.replace("class Different:", f"class Different:{lookup}"))
    text = recipe.read_text()
    start, end = text.index("[[rl.tasks]]"), text.index("[optim]")
    recipe.write_text(f"{text[:start]}[[rl.tasks]]\ntask = {json.dumps(str(task))}\n{text[end:]}")
    change(
        recipe,
        ("[rl]", f"[rl]\n{more}"),
        ("max_position_embeddings = 64", "max_position_embeddings = 400"),
        ("thinking = false", "thinking = true"),
    )
    monkeypatch.setattr(_Sample, "_first_search", lambda self, ids: ("words", 3) if len(ids) > 3 else (None, len(ids)))
    made = learner(recipe)
    found = made.step()
    metrics, tally = found.metrics, found.tally
    assert min(tally.given) >= 3 * len("\n[\nSay a\n]\n")
    assert max(tally.lengths) <= 10
    assert metrics["sampled"] == metrics["learnt"] == sum(tally.lengths)
    assert found.tokens > sum(tally.lengths) + sum(tally.given)
    assert 0 < metrics["parity_max"] <= 1e-5
    assert "<information>\nSay " in found.examples[0]["thought"]
    assert found.examples[0]["tokens"] <= 10
    assert made.evaluate().keys() == {str(task)}


@pytest.mark.parametrize("algorithm", ["grpo", "dr_grpo", "dapo", "gspo", "cispo"])
def test_every_algorithm_takes_steps(recipe: Path, algorithm: str):
    change(recipe, ("[rl]", f'[rl]\nalgorithm = "{algorithm}"\nminibatches = 2'), ("kl = 0.01\n", ""))
    made = learner(recipe)
    before = {name: p.detach().clone() for name, p in made.model.named_parameters()}
    metrics = [made.step().metrics for _ in range(2)]
    assert all(line["grad_norm"] > 0 for line in metrics)
    assert any(not torch.equal(p, before[name]) for name, p in made.model.named_parameters())
    assert made.engine.policy_version == 2
    # The second minibatch is off the policy that sampled.
    assert metrics[1]["ratio_max"] > 1 + 1e-4
    assert metrics[1]["parity_max"] <= 1e-5


def test_problems_are_a_function_of_seed_and_place(recipe: Path):
    made = learner(recipe)
    assert [made.question(place) for place in range(20)] == [made.question(place) for place in range(20)]
    assert len({made.question(place).problem.seed for place in range(20)}) == 20
    made.mesh = Mesh(rank=1, world=2)
    assert [question.place for question in made.questions(5)] == [1, 3]
    assert [question.place for question in made.questions(2)] == [5]


def test_groups_without_variance_are_replaced(recipe: Path, monkeypatch: pytest.MonkeyPatch):
    change(recipe, ("[rl]", "[rl]\ndynamic_sampling = true"))
    made = learner(recipe)
    compare = made.compare

    def half_silent(answers: list[grpo.Answers]) -> list[grpo.Group]:
        for each in answers:
            if each.question.place % 2:
                each.scores = [each.scores[0]] * len(each.scores)
        return compare(answers)

    monkeypatch.setattr(made, "compare", half_silent)
    metrics = made.step().metrics
    assert metrics["groups"] > 4
    assert metrics["learnt"] < metrics["sampled"]
    assert made.cursor == metrics["groups"]


def test_nothing_to_learn_moves_nothing_and_is_said(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys
):
    change(recipe, ("kl = 0.01", "kl = 0.0"), ("steps = 7", "steps = 3"))

    def equal(self: GRPO, judged: list, replies: list) -> list[grpo.Score]:
        return [grpo.Score(0.5) for _ in judged]

    monkeypatch.setattr(grpo.Reward, "__call__", equal)
    run = train(recipe, run_dir=tmp_path / "run")
    assert capsys.readouterr().err.count("All groups of a step had equal rewards") == 1
    weights = [grpo.checkpoint.load(run / f"checkpoints/step-{step}").tensors["weights"] for step in (2, 3)]
    assert all(torch.equal(weights[0][name], tensor) for name, tensor in weights[1].items())
    assert all(line["grad_norm"] == 0 and line["parity_max"] > 0 for line in steps(run))


def test_a_gradient_that_is_no_number_stops_the_run(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    learn = GRPO.learn

    def poisoned(self: GRPO, batch: grpo.RolloutBatch, *, first: bool) -> None:
        learn(self, batch, first=first)
        if self.done == 4:
            self.optimizer.stats[0] = float("nan")

    monkeypatch.setattr(GRPO, "learn", poisoned)
    with pytest.raises(DenkenError, match=r"became nan in step 5; the last checkpoint is kept\. Lower lr"):
        train(recipe, run_dir=tmp_path / "run")


def test_a_signal_stops_after_the_step_and_saves(straight: Path, recipe: Path, tmp_path: Path, monkeypatch):
    step = GRPO.step

    def interrupted(self: GRPO, **flags: bool) -> grpo.StepResult:
        if self.done == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, **flags)

    with monkeypatch.context() as patch:
        patch.setattr(GRPO, "step", interrupted)
        run = train(recipe, run_dir=tmp_path / "run")
    assert steps(run)[-1]["step"] in (3, 4)
    train(recipe, run_dir=run)
    assert state(run, 7) == state(straight, 7)


def test_recipes_that_cannot_be_learnt_from(recipe: Path, tmp_path: Path):
    good = recipe.read_text()
    for old, new, message in (
        ("steps = 7", "tokens = 7000", "give steps"),
        ("problems = 4", "problems = 1", "cannot be dealt to 2 processes"),
        ("problems = 4", "problems = 1\nminibatches = 2", "cannot make 2 minibatches"),
        ("[optim]", "[reward]\naccuracy = 0.0\n[optim]", "all weights are 0"),
        ("kl = 0.01", "kll = 0.01", "did you mean 'kl'"),
        ("[rl]", '[rl]\nalgorithm = "ppo"', "algorithm"),
        ("[rl]", '[data]\nsources = [{ task = "plain:sums" }]\n[rl]', "either"),
    ):
        processes = 2 if "processes" in message else 1
        recipe.write_text(good.replace(old, new).replace("threads = 1", f"threads = 1\nprocesses = {processes}"))
        with pytest.raises(ConfigError, match=message):
            train(recipe, run_dir=tmp_path / "run")


def test_a_run_that_read_texts_is_not_gone_on_with(recipe: Path, tmp_path: Path):
    rewards = recipe.read_text()
    start, end = rewards.index("[rl]"), rewards.index("[optim]")
    recipe.write_text(rewards[:start] + '[data]\nwidths = [64]\nsources = [{ task = "plain:sums" }]\n' + rewards[end:])
    change(recipe, ("steps = 7", "steps = 1"), ("eval_every = 3", ""))
    run = pretrain.train(recipe, run_dir=tmp_path / "run")
    recipe.write_text(rewards)
    with pytest.raises(CheckpointError, match="of a run that reads texts"):
        train(recipe, run_dir=run)


def metrics(reward: float = 0.5, entropy: float = 0.2, no_variance: float = 0.0) -> dict[str, float]:
    return {"reward": reward, "entropy": entropy, "no_variance": no_variance}


def test_collapses_are_announced():
    watch = Watch()
    assert not any(watch(metrics()) for _ in range(30))
    said = [text for _ in range(40) for text in watch(metrics(reward=0.0))]
    assert said
    assert all("reward has collapsed" in text for text in said)
    watch = Watch()
    assert not any(watch(metrics()) for _ in range(30))
    said = [text for _ in range(60) for text in watch(metrics(entropy=0.0))]
    assert said
    assert all("entropy has collapsed" in text for text in said)
    # A task that was never learnt has not collapsed, nor has a policy that was certain from the start.
    watch = Watch()
    assert not any(watch(metrics(reward=0.0, entropy=0.004)) for _ in range(100))


def test_the_watch_goes_on_after_a_resume():
    watch, other = Watch(), Watch()
    for _ in range(30):
        watch(metrics())
    other.restore(json.loads(json.dumps(watch.state())))
    later = [metrics(reward=0.0)] * 40
    assert [watch(each) for each in later] == [other(each) for each in later]


@pytest.mark.skipif(not (BUNDLED / "model.safetensors").is_file(), reason="this copy has no bundled model")
@pytest.mark.parametrize(("dtype", "most", "mean"), [("fp32", 1e-5, 1e-6), ("bf16", 2e-2, 1e-3)])
def test_sampler_and_trainer_agree_on_the_bundled_model(tmp_path: Path, dtype: str, most: float, mean: float):
    """Over a thousand tokens of thoughts. The mean holds for any seed. The largest does not: of eight other thousands
    one had a token beyond the bound in fp32 (3e-5), and four in bf16, where sums in another order may round apart."""
    path = tmp_path / "recipe.toml"
    path.write_text(
        f"""
        name = "parity"
        seed = 2
        [rl]
        problems = 6
        group = 2
        max_tokens = 200
        kl = 0.0
        tasks = [{{ task = "word_sorting" }}, {{ task = "chain_sum" }}, {{ task = "number_sorting" }}]
        [train]
        steps = 1
        dtype = "{dtype}"
        threads = 1
        init_from = "bundled"
        """
    )
    metrics = learner(path).step().metrics
    assert metrics["sampled"] > 1000
    assert 0 < metrics["parity_max"] <= most
    assert metrics["parity_mean"] <= mean
