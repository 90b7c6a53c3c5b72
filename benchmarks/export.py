"""What a model loses on its way to llama.cpp: the same questions to the engine here and to GGUF files of every type.

    make bench                      # or: python benchmarks/export.py --problems 5

Of each of twenty tasks that the model in the box can do, `--problems` fresh problems are asked greedily. Printed are
the size of the file, whose text is the engine's letter for letter, how many answers are right, and tokens a second of
llama.cpp on one thread. llama-cpp-python has to be installed: `pip install 'denken[llama]'`.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from denken.assistant import find_folder, load
from denken.chat.message import Message
from denken.chat.template import END_THINK, render
from denken.export import gguf
from denken.tasks import get
from denken.tokenizer import Tokenizer
from denken.types import Problem

TASKS = (
    "spell_backward", "isomorphic_strings", "lcm", "prime_factorization", "palindrome_generation", "leg_counting",
    "products", "word_sequence_reversal", "chain_sum", "gcd", "number_sorting", "base_conversion", "number_filtering",
    "letter_counting", "word_sorting", "basic_arithmetic", "plain:products", "plain:sums", "plain:letters",
    "plain:primes",
)  # fmt: skip
FIRST_SEED = 900_000_000


def answered(model: Any, prompt: list[int], tokenizer: Tokenizer, context: int) -> list[int]:
    """The ids that llama.cpp says greedily, without the one that ends them."""
    ids: list[int] = []
    for id_ in model.generate(prompt, temp=0.0):
        if id_ in (model.token_eos(),) or len(prompt) + len(ids) + 1 >= context:
            break
        ids.append(id_)
    return ids


def main() -> None:
    """Asks everybody, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--problems", type=int, default=5, help="of each task")
    args = parser.parse_args()
    try:
        import llama_cpp
    except ImportError:
        raise SystemExit("llama-cpp-python is not installed; install it: pip install 'denken[llama]'") from None
    problems: list[tuple[str, Problem]] = [
        (name, get(name).problem(FIRST_SEED + number)) for name in TASKS for number in range(args.problems)
    ]
    with load(args.model, threads=1) as assistant:
        tokenizer, context = assistant.tokenizer, assistant.context
        prompts = [list(render([Message("user", problem.prompt)], tokenizer).ids) for _, problem in problems]
        started = time.perf_counter()
        spoken = [assistant.ask(problem.prompt) for _, problem in problems]
        seconds = time.perf_counter() - started
    ours = [(answer.thought, answer.text) for answer in spoken]
    tokens = sum(answer.thought_tokens + answer.answer_tokens for answer in spoken)
    table = Table("weights", "file, MB", "same text", "right answers", "tokens/s, one thread")
    table.add_row("here", "", "", right(problems, [text for _, text in ours]), f"{tokens / seconds:,.0f}")
    with tempfile.TemporaryDirectory() as folder:
        for kind in gguf.KINDS:
            file = gguf.export(find_folder(args.model), Path(folder) / f"{kind}.gguf", kind=kind)
            model = llama_cpp.Llama(str(file), n_ctx=context, n_threads=1, n_threads_batch=1, verbose=False)
            started = time.perf_counter()
            replies = [answered(model, prompt, tokenizer, context) for prompt in prompts]
            seconds = time.perf_counter() - started
            texts = [tokenizer.decode(ids, skip_control=False).partition(END_THINK) for ids in replies]
            theirs = [(thought.strip(), answer.strip()) for thought, _, answer in texts]
            same = sum(a == b for a, b in zip(ours, theirs, strict=True))
            speed = sum(map(len, replies)) / seconds
            table.add_row(
                kind,
                f"{file.stat().st_size / 1e6:.2f}",
                f"{same} of {len(problems)}",
                right(problems, [text for _, text in theirs]),
                f"{speed:,.0f}",
            )
    Console(width=120).print(table)
    print(f"{platform.processor() or platform.machine()}, llama-cpp-python {llama_cpp.__version__}, {date.today()}")


def right(problems: list[tuple[str, Problem]], answers: list[str]) -> str:
    """How many answers are right, of how many."""
    scored = [
        get(name).score(problem, answer).reward == 1 for (name, problem), answer in zip(problems, answers, strict=True)
    ]
    return f"{sum(scored)} of {len(scored)}"


if __name__ == "__main__":
    main()
