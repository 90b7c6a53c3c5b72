"""Every data set of reasoning-gym (github.com/open-thought/reasoning-gym, Apache-2.0) as a task.

`problem(seed)` is the library's item of that seed: `create_dataset(name, seed=seed, size=1)[0]`. Most data sets draw
item `i` from `Random(seed + i)`, so one data set object with seed 0 serves every seed as an index; the few in
`_BUILT_PER_SEED` draw when they are built. The library's rare use of the global generators is seeded and undone.
basic_arithmetic looks for the divisors of its operands by trial, for minutes on rare seeds of its published hard
configuration (900000453 and 900000474 among the 500 fresh ones); `divisors` gives the same list at once in its place.
jugs searches all ways of pouring at each try at a problem; here it is kept what was found (`fewest_moves`).
arc_1d looks for a tenth colour among nine for ever where ten blocks are to be recoloured, on one hard seed in a
thousand; `patient` has it draw that row again.
sudoku is made by `denken.tasks.squares`, which comes to the library's items sooner.
Data sets in `_HASH_DEPENDENT` iterate over sets of strings: they are generated in the verifier's process, whose
PYTHONHASHSEED is fixed, so that a seed means the same problem in every process.

Answers are judged in one of three ways, the first that applies:

1. `_OURS`: our own verifiers, in process. They are never more lenient than the library's, and stricter where that
   one errs: reasoning-gym 0.1.25 gives full marks to `3**2` and `7//2` in countdown, to any four numbers in puzzle24,
   and to sorted numbers that are each off by one. The reward is 1.0 or 0.0.
2. Data sets that keep the library's default judge, which compares strings and nothing more: in process.
3. All others: the library's judge, in a locked-down process (`verify.process`), behind a grammar (`_GRAMMARS`) where
   that judge would evaluate the answer as code.

For 2 and 3 the reward is the library's score: 1.0 for a correct answer, often something between for a near or hedged
one, as in its published results. `parts["library"]` repeats it and `parts["correct"]` is 1.0 for full marks alone.

What is not covered: worked solutions (`denken.tasks.traces`), and the data set "composite", which is a mixture of the
others with a seed of its own and no questions of its own: mix tasks instead.
"""

from __future__ import annotations

import contextlib
import dataclasses
import decimal
import difflib
import json
import math
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy

from denken.errors import ConfigError, VerifierTimeout
from denken.tasks import squares
from denken.tasks.base import Demonstration
from denken.tasks.registry import unknown_name
from denken.tasks.verify import answers
from denken.tasks.verify.process import DEFAULT_TIMEOUT, MAX_ANSWER_CHARACTERS, Judge, Worker
from denken.types import Problem, Score

EXCLUDED = {"composite": 'it only mixes other data sets; name those instead, for example "chain_sum" and "countdown"'}

_BUILT_PER_SEED = frozenset({"acre", "gsm_symbolic", "list_functions"})
_HASH_DEPENDENT = frozenset({"isomorphic_strings", "polynomial_multiplication", "ransom_note", "word_ladder"})
_MAX_SEED = 2**32 - 2**20  # numpy's global generator takes seeds below 2**32

_OURS: Mapping[str, Callable[[Problem, str], bool]] = {
    "chain_sum": answers.same_number,
    "coin_flip": answers.same_probability,
    "countdown": answers.reaches_target,
    "decimal_chain_sum": answers.same_number,
    "fraction_simplification": answers.same_reduced_fraction,
    "game_of_life_halting": answers.same_truth,
    "gsm_symbolic": answers.same_number,
    "number_sorting": answers.same_numbers_in_order,
    "palindrome_generation": answers.palindrome_of_letters,
    "prime_factorization": answers.same_factors,
    "products": answers.same_number,
    "puzzle24": answers.makes_24,
    "spell_backward": answers.same_letters_any_case,
    "word_sorting": answers.same_words_in_order,
}

# What may reach a judge that evaluates its answer as code: brackets of numbers, of queens, of letters; and formulas
# of numbers, one-letter names and these functions. `Integral(...)` would be full marks for copying the question.
_ROWS = re.compile(r"[\d\s,.\[\]()'\"-]*", re.ASCII)
_FORMULA_PART = re.compile(r"\s+|\d{1,30}(?:\.\d{1,30})?(?![.\d])|(?P<word>[A-Za-z]+)|[-+*/^()]", re.ASCII)
_FUNCTION = re.compile("a?(?:sin|cos|tan)|(?:sin|cos|tan)h|sec|csc|cot|exp|log|ln|sqrt|pi")


def _is_formula(answer: str) -> bool:
    at = 0
    while at < len(answer):
        part = _FORMULA_PART.match(answer, at)
        if part is None or (part["word"] and len(part["word"]) > 1 and not _FUNCTION.fullmatch(part["word"])):
            return False
        at = part.end()
    return True


_GRAMMARS: Mapping[str, Callable[[str], object]] = {
    "binary_matrix": _ROWS.fullmatch,
    "complex_arithmetic": re.compile(r"[\d\s.+\-*ij()]*", re.ASCII).fullmatch,  # it gives full marks to "nan"
    "intermediate_integration": _is_formula,
    "n_queens": re.compile(r"[Q_\s,\[\]'\"]*", re.ASCII).fullmatch,
    "polynomial_multiplication": _is_formula,
    "simple_integration": _is_formula,
    "spiral_matrix": _ROWS.fullmatch,
    "string_insertion": re.compile(r"[A-Za-z\s,\[\]'\"]*", re.ASCII).fullmatch,
}

_WORKER = Worker()
_TRIED: set[tuple[str, str]] = set()


class GymTask:
    """One data set of reasoning-gym at one configuration.

    config: fields of that data set's configuration, without `seed` and `size`. timeout: seconds for one verdict.

    >>> task = GymTask("chain_sum", {"min_terms": 2, "max_terms": 2})
    >>> problem = task.problem(7)
    >>> task.score(problem, problem.answer).reward
    1.0
    """

    def __init__(self, name: str, config: Mapping[str, Any] | None = None, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        self._name = name
        self.config = dict(config or {})
        self._key = _frozen(self.config)
        self._timeout = timeout
        _check(name, self.config)
        self._judged_by_equality = name not in _OURS and _keeps_default_judge(name)

    @property
    def name(self) -> str:
        return self._name

    def problem(self, seed: int) -> Problem:
        """The item of this seed. `answer` is empty where the library knows none (boxnet, rush_hour).

        Raises ConfigError for a seed out of range, or where the data set cannot make an item of this seed.
        """
        if not 0 <= seed < _MAX_SEED:
            raise ConfigError(f"Seed {seed} is out of range; give one from 0 to {_MAX_SEED - 1}.")
        arguments = {"name": self._name, "config": self.config, "seed": seed}
        item = (
            _WORKER.call(f"{__name__}:generate", arguments)
            if self._name in _HASH_DEPENDENT
            else _item(self._name, self._key, seed)
        )
        return Problem(self._name, item["question"], _known_answer(item), seed, item["metadata"])

    def score(self, problem: Problem, answer: str) -> Score:
        """See the module's account of how answers are judged; an answer is stripped of outer white space first."""
        answer = answer.strip() if len(answer) <= 2 * MAX_ANSWER_CHARACTERS else ""
        if not answer or len(answer) > MAX_ANSWER_CHARACTERS:
            return _score(0.0)
        if self._name in _OURS:
            return _score(float(_OURS[self._name](problem, answer)))
        if self._judged_by_equality:
            return _library_score(_equality(answer, problem.answer))
        if self._name in _GRAMMARS and not _GRAMMARS[self._name](answer):
            return _score(0.0, refused=1.0)
        arguments = {"name": self._name, "config": self.config, "seed": problem.seed, "question": problem.prompt}
        try:
            return _library_score(_WORKER.judge(f"{__name__}:judge", arguments, answer, timeout=self._timeout))
        except VerifierTimeout:
            return _score(0.0, timeout=1.0)

    def score_many(self, answered: Sequence[tuple[Problem, str]]) -> list[Score]:
        """One score a pair, in order; each problem is prepared once however often it was answered."""
        return [self.score(problem, answer) for problem, answer in answered]


class TracedGymTask(GymTask):
    """A data set for which `denken.tasks.traces` can write out how the answer is found."""

    def __init__(
        self, name: str, write: Callable[[Problem], Demonstration], config: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(name, config)
        self._write = write

    def demonstrate(self, problem: Problem) -> Demonstration:
        return self._write(problem)


def names() -> list[str]:
    """The data sets that can be had, in alphabetical order."""
    from reasoning_gym.factory import DATASETS

    return sorted(set(DATASETS) - set(EXCLUDED))


def divisors(a: int, b: int) -> list[int]:
    """All common divisors, each of the smaller half with its partner behind it: the library's list, by factorisation.

    >>> divisors(12, 18), divisors(36, 0)
    ([1, 6, 2, 3], [1, 36, 2, 18, 3, 12, 4, 9, 6])
    """
    from sympy import factorint

    common = math.gcd(a, b)
    found = [1] if common else []
    for prime, power in factorint(common).items():
        found = [divisor * prime**times for divisor in found for times in range(power + 1)]
    smaller = [divisor for divisor in sorted(found) if divisor * divisor <= common]
    return [each for divisor in smaller for each in dict.fromkeys((divisor, common // divisor))]


class _Draws:
    """A generator's `random` and `randint`; after `most` calls of the latter, RecursionError."""

    def __init__(self, generator: random.Random, most: int) -> None:
        self._generator, self._left, self.random = generator, most, generator.random

    def randint(self, low: int, high: int) -> int:
        self._left -= 1
        if self._left < 0:
            raise RecursionError
        return self._generator.randint(low, high)


def patient(draw: Callable[[Any, int], dict[str, list[int]] | None]) -> Callable[..., dict[str, list[int]] | None]:
    """A row of arc_1d as `draw` makes it, or None ("draw again") where it would go on without end.

    Nine different colours of nine take 25 draws, and more than a thousand in one case of 10**50.
    """

    def drawn(generator: random.Random, size: int) -> dict[str, list[int]] | None:
        try:
            return draw(_Draws(generator, 1000), size)
        except RecursionError:
            return None

    return drawn


def generate(name: str, config: dict[str, Any], seed: int) -> dict[str, Any]:
    """The item of a seed as plain JSON values; called in the verifier's process."""
    item = _item(name, _frozen(config), seed)
    return {part: _plain(item[part]) for part in ("question", "answer", "metadata")}


def judge(name: str, config: dict[str, Any], seed: int, question: str) -> Judge:
    """The library's judge of one problem; called in the verifier's process, before any answer is read.

    The problem is made again from its seed, so that nothing but text crosses the pipe. The judge is tried on harmless
    answers, so that whatever it imports is imported before the process is locked down.
    """
    key = _frozen(config)
    item = _remembered_item(name, key, seed)
    if item["question"] != question:
        raise ConfigError(
            f"seed {seed} of {name} asks something else at this configuration; score it with its own task."
        )
    data = _data(name, key)
    if (name, key) not in _TRIED:
        for answer in (_known_answer(item), "0", "not an answer"):
            with contextlib.suppress(Exception), _own_random_state(seed):
                data.score_answer(answer, _item(name, key, seed))
        _TRIED.add((name, key))
    return lambda answer: float(data.score_answer(answer, item))


def fewest_moves(capacities: Sequence[int], target: int) -> int | None:
    """The fewest moves until one of these jugs holds the target, None where none ever does: the library's number.

    Each set of capacities is searched once, whatever the order and the target; jugs of the same size are not told
    apart.

    >>> fewest_moves([3, 5], 4), fewest_moves([6, 4], 3)
    (6, None)
    """
    return _fewest_moves_to_each(tuple(sorted(capacities))).get(target)


_Jugs = tuple[tuple[int, int], ...]  # each jug's capacity and what it holds, in ascending order


@lru_cache(maxsize=4096)
def _fewest_moves_to_each(capacities: tuple[int, ...]) -> dict[int, int]:
    amounts = max(capacities) // math.gcd(*capacities) + 1
    layer: set[_Jugs] = {tuple((capacity, 0) for capacity in capacities)}
    met, fewest, moves = set(layer), {0: 0}, 0
    while layer and len(fewest) < amounts:
        moves += 1
        layer = {after for jugs in layer for after in _after_a_move(jugs)} - met
        met |= layer
        for amount in {held for jugs in layer for _, held in jugs}:
            fewest.setdefault(amount, moves)
    return fewest


def _after_a_move(jugs: _Jugs) -> Iterator[_Jugs]:
    for i, (capacity, held) in enumerate(jugs):
        others = jugs[:i] + jugs[i + 1 :]
        yield tuple(sorted((*others, (capacity, capacity))))
        yield tuple(sorted((*others, (capacity, 0))))
        for j, (size, holds) in enumerate(others):
            if poured := min(held, size - holds):
                rest = others[:j] + others[j + 1 :]
                yield tuple(sorted((*rest, (capacity, held - poured), (size, holds + poured))))


def boards(first: numpy.ndarray, timesteps: int, **_: object) -> numpy.ndarray:
    """A board of the Game of Life and those after it, `timesteps` in all: what the library counts cell by cell.

    >>> boards(numpy.array([[[0, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]]), 2)[1].tolist()
    [[0, 1, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    """
    found = [first[-1]]
    while len(found) < timesteps:
        cells, steps = found[-1], (-1, 0, 1)
        around = sum(numpy.roll(cells, (down, right), (0, 1)) for down in steps for right in steps)
        found.append(((around == 3) | (around - cells == 3)).astype(cells.dtype))
    return numpy.array(found)


@lru_cache(maxsize=1)
def _roll_boards() -> None:
    from reasoning_gym.algorithmic import game_of_life

    library = game_of_life.cpl
    game_of_life.cpl = SimpleNamespace(
        init_simple2d=library.init_simple2d, game_of_life_rule=library.game_of_life_rule, evolve2d=boards
    )


@lru_cache(maxsize=1)
def _fill_squares() -> None:
    from reasoning_gym.games.sudoku import SudokuDataset

    SudokuDataset._solve = lambda _, board: squares.complete(board)
    SudokuDataset._create_puzzle = lambda _, solved, blanks, rng: squares.with_blanks(solved, blanks, rng)


@lru_cache(maxsize=1)
def _remember_pourings() -> None:
    """Has jugs look up what it would search for again; its solutions pour between the first three jugs only."""
    from reasoning_gym.algorithmic import jugs

    solve = lru_cache(maxsize=4096)(jugs.generate_jug_solution)
    jugs.min_moves_n = fewest_moves
    jugs.generate_jug_solution = lambda capacities, target: solve(tuple(capacities[:3]), target)


@lru_cache(maxsize=64)
def _data(name: str, key: str) -> Any:
    from reasoning_gym.arc import arc_1d_tasks
    from reasoning_gym.arithmetic import basic_arithmetic
    from reasoning_gym.factory import create_dataset

    basic_arithmetic.find_common_divisors = divisors
    _remember_pourings()
    palette = patient(arc_1d_tasks.task_recolor_blocks_from_palette)
    arc_1d_tasks.ARC_1D_TASKS["recolor_blocks_from_palette"] = palette, {}
    _roll_boards()
    _fill_squares()
    return create_dataset(name, **json.loads(key), seed=0, size=1)


def _item(name: str, key: str, seed: int) -> dict[str, Any]:
    """The library's item; where it fails by dividing by 0 (basic_arithmetic, on rare seeds) a neighbour's."""
    for neighbour in (seed, seed ^ 1, seed ^ 2, seed ^ 3):
        with contextlib.suppress(ZeroDivisionError):
            return _library_item(name, key, neighbour)
    raise ConfigError(f"{name} has no item for seed {seed} at this configuration; choose another seed.")


def _library_item(name: str, key: str, seed: int) -> dict[str, Any]:
    from reasoning_gym.factory import create_dataset

    if name == "bf":
        _hush_compiler()
    # decimal_arithmetic sets the precision of the whole thread, by which decimal_chain_sum would then be rounded.
    with _own_random_state(seed), decimal.localcontext(decimal.DefaultContext):
        try:
            if name in _BUILT_PER_SEED:
                return dict(create_dataset(name, **json.loads(key), seed=seed, size=1)[0])
            data = _data(name, key)
            data.size = seed + 1  # word_ladder looks at it, and sets it when a seed has no item
            return dict(data[seed])
        except (ValueError, IndexError, RuntimeError) as error:
            raise ConfigError(f"{name} has no item for seed {seed} at this configuration: {error}") from error


@lru_cache(maxsize=1)
def _hush_compiler() -> None:
    """What compiles bf's programs prints a dot for each of its passes, into whatever a command prints."""
    from reasoning_gym.code.contrib.bfit.Compiler import Optimizer

    Optimizer.print = lambda *_, **__: None


_remembered_item = lru_cache(maxsize=256)(_item)


@contextlib.contextmanager
def _own_random_state(seed: int) -> Iterator[None]:
    """Gives the library the global generators in a state of the seed's, and the caller its own state back."""
    state, numpy_state = random.getstate(), numpy.random.get_state()
    random.seed(seed)
    numpy.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
        numpy.random.set_state(numpy_state)


def _check(name: str, config: Mapping[str, Any]) -> None:
    from reasoning_gym.factory import DATASETS

    if name in EXCLUDED:
        raise ConfigError(f"The data set {name!r} is left out: {EXCLUDED[name]}.")
    if name not in DATASETS:
        raise unknown_name("data set", name, names())
    kind = DATASETS[name][1]
    fields = [field.name for field in dataclasses.fields(kind) if field.name not in ("seed", "size")]
    for field in config:
        if field in ("seed", "size"):
            raise ConfigError(
                f"Leave {field!r} out of {name}'s configuration: problem(seed) takes the seed, of any number."
            )
        if field not in fields:
            near = difflib.get_close_matches(field, fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(fields) or 'none'}."
            raise ConfigError(f"{name} has no setting {field!r}; {hint}")
    try:
        _data(name, _frozen(config))
    except (AssertionError, ValueError, TypeError) as error:
        raise ConfigError(f"The configuration of {name} does not hold: {error}") from error


def _keeps_default_judge(name: str) -> bool:
    from reasoning_gym.dataset import ProceduralDataset
    from reasoning_gym.factory import DATASETS

    return bool(DATASETS[name][0].score_answer is ProceduralDataset.score_answer)


def _equality(answer: str, expected: str) -> float:
    """The library's default judge: 1 for the same text; for an answer that contains it, its share of the answer."""
    expected = expected.strip()
    if answer == expected:
        return 1.0
    return len(expected) / len(answer) if expected and expected in answer else 0.0


def _known_answer(item: Mapping[str, Any]) -> str:
    answer, metadata = item["answer"], item["metadata"]
    if answer is None and "possible_answer" in metadata:
        return json.dumps(metadata["possible_answer"])
    if answer is None:
        answer = metadata.get("example_answer") or metadata.get("example_correct_answer")
    text = "" if answer is None else str(answer)
    return "" if "Integral(" in text else text  # the library's way to say that it could not integrate


def _score(reward: float, **parts: float) -> Score:
    return Score(reward, {"correct": float(reward == 1.0), **parts})


def _library_score(score: float) -> Score:
    reward = min(1.0, max(0.0, score))
    return _score(reward, library=reward)


def _frozen(config: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(config), sort_keys=True)
    except TypeError as error:
        raise ConfigError(f"A data set's configuration holds plain values (numbers, text, lists): {error}") from error


def _plain(value: Any) -> Any:
    """The value as JSON keeps it: tuples become lists, keys text, anything else its text."""
    return json.loads(json.dumps(value, default=str))
