"""What a layer for multi-token prediction adds to guesses, on the one model here that it can be trained for in minutes.

    python benchmarks/mtp.py --threads 2        # some four minutes

No folder that fits this machine has such a layer, so one is trained behind the bundled model, whose weights stay: on
what it says itself, greedily, to questions that training draws. Then questions of other seeds are answered one at a
time: plainly, with guesses from what was said before, and with the layer's as well. All three must say the very same.
Passes through the network count: one that checks an id more costs this small network nearly as much again, so that
seconds gain nothing here (docs/speed.md), as they would where a step is bound by its weights.
"""

from __future__ import annotations

import argparse
import platform
import time
from datetime import date

import torch
import torch.nn.functional as F
from speculate import BEFORE, FIRST_SEED, engine_of, questions, run
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from denken.assistant import load
from denken.engine.speculate import Speculation
from denken.model.attention import Causal
from denken.model.mtp import MultiTokenPrediction
from denken.model.transformer import Transformer
from denken.types import SamplingParams

GREEDY = SamplingParams(temperature=0, max_tokens=700)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--texts", type=int, default=1000, help="that the layer learns from")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--questions", type=int, default=150)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    assistant = load(given.model, threads=given.threads, speculation=False)
    model = assistant.engine._model
    learnt = list(questions(assistant, given.texts, BEFORE))
    texts = [
        [*prompt, *said]
        for prompt, said in zip(learnt, run(engine_of(assistant, None), learnt, GREEDY)[0], strict=True)
    ]
    starts = [len(prompt) for prompt in learnt]
    print(f"{date.today()}, {platform.machine()}, torch {torch.__version__}, {given.threads} threads", flush=True)
    layer = trained(model, texts, starts, given.steps)
    asked = list(questions(assistant, given.questions, FIRST_SEED))
    engines = {
        "plain": engine_of(assistant, None),
        "guesses": engine_of(assistant, Speculation()),
        "guesses, the layer's too": engine_of(assistant, Speculation(), layer=layer),
    }
    said: dict[str, list[tuple[int, ...]]] = {name: [] for name in engines}
    passes, seconds = dict.fromkeys(engines, 0), dict.fromkeys(engines, 0.0)
    for prompt in asked:
        for name, engine in engines.items():
            ids, count, took = run(engine, [prompt], GREEDY)
            said[name] += ids
            passes[name] += count
            seconds[name] += took
    assert said["plain"] == said["guesses"] == said["guesses, the layer's too"], "guesses changed what was said"
    ids_all = sum(map(len, said["plain"]))
    for name in engines:
        faster = seconds["plain"] / seconds[name]
        print(f"{name}: {ids_all / passes[name]:.2f} ids a pass, {faster:.2f} times as fast as plain")


def trained(model: Transformer, texts: list[list[int]], starts: list[int], steps: int) -> MultiTokenPrediction:
    """Begun with small random numbers, and the network's own last norm."""
    torch.manual_seed(0)
    layer = MultiTokenPrediction(model.config)
    for parameter in layer.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.02)
    layer.shared_head["norm"].load_state_dict(model.model["norm"].state_dict())
    optimiser = torch.optim.AdamW(layer.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1, step / 10) * (1 - step / steps))
    began, kept = time.monotonic(), len(texts) // 20
    for step in range(steps):
        chosen = torch.randint(kept, len(texts), (24,)).tolist()
        loss, _ = judged(model, layer, [texts[i] for i in chosen], [starts[i] for i in chosen])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 20 == 0 or step == steps - 1:
            print(f"step {step}: loss {loss:.3f}, {time.monotonic() - began:.0f} s", flush=True)
    with torch.no_grad():
        _, right = judged(model, layer.eval(), texts[:kept], starts[:kept])
    print(f"of {kept} texts that it has not learnt from it says {right:.3f} of the ids after the next", flush=True)
    return layer


def judged(
    model: Transformer, layer: MultiTokenPrediction, texts: list[list[int]], starts: list[int]
) -> tuple[Tensor, Tensor]:
    """Its loss on what was said, and how much of that it has right."""
    ids_BT = pad_sequence([torch.tensor(text) for text in texts], batch_first=True)
    with torch.no_grad():
        hidden_BTM = model.hidden(ids_BT)
        angles = model.rotary(torch.arange(ids_BT.shape[1] - 2)[None])
    out_BTM = layer.hidden(hidden_BTM[:, :-2], model.model["embed_tokens"](ids_BT[:, 1:-1]), angles, Causal())
    places_T = torch.arange(2, ids_BT.shape[1])
    ends_B, starts_B = torch.tensor([[len(text)] for text in texts]), torch.tensor(starts)[:, None]
    wanted_BT = (places_T >= starts_B) & (places_T < ends_B)
    logits_NV = model.logits(layer.normed(out_BTM[wanted_BT]))
    targets_N = ids_BT[:, 2:][wanted_BT]
    return F.cross_entropy(logits_NV.float(), targets_N), (logits_NV.argmax(-1) == targets_N).float().mean()


if __name__ == "__main__":
    main()
