"""Thoughts about rows of colours (arc_1d): every cell gets a letter, and what happens is written in letters.

No run of equal cells is copied at a glance. A row is written with a letter before each cell; a run is its first and its
last letter; where a length counts, the cells are counted one by one; where cells move, the letter a cell comes from
stands before the letter it goes to. The answer's row is again written with letters.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from denken.tasks.base import Demonstration
from denken.types import Problem

Cells = Sequence[int]
Work = Callable[[Cells], list[str]]

# Without e and f, so that letters side by side are never read as one of the common words "de", "en", "of" and "If".
_LETTERS = "".join(letter for letter in string.ascii_letters if letter not in "ef")


class Run(NamedTuple):
    """Equal cells side by side, from the first place to the last, of a colour that is not 0."""

    first: int
    last: int
    colour: int

    def __str__(self) -> str:
        return f"{_span(self.first, self.last)}{self.colour}"

    @property
    def size(self) -> int:
        return self.last - self.first + 1


Runs = list[Run]


def arc_1d(problem: Problem) -> Demonstration:
    """The examples cell by cell, the name of the rule, the row that is asked about, and the rule carried out on it.

        a00b80c88d88g08h00:bd>cg    letter, cell before, cell after; b to d were not 0, then c to g
        a00b90c09d00g00h00:bb>cc
        a40b44c04d00g00h00:ab>bc
        right 1
        a0b0c6d6g0h0
        ha0ab0bc0cd6dg6gh0

    What follows the row is shown at each rule's function. Several of the data set's tasks are one rule: what moves may
    as well be of one colour as of many, and where nothing leaves the row it does not matter that it would come round.
    """
    metadata = problem.metadata
    lines = [_compared(example["input"], example["output"]) for example in metadata["train_examples"]]
    name, work = _RULES[metadata["task_name"]]
    cells: list[int] = metadata["test_example"]["input"]
    return Demonstration("\n".join([*lines, name, _row(cells), *work(cells)]), problem.answer)


def _letter(place: int) -> str:
    """The letter of a place; from the 50th on with a number, in rows that the published runs do not have."""
    turns, i = divmod(place, len(_LETTERS))
    return f"{_LETTERS[i]}{turns or ''}"


def _row(cells: Cells) -> str:
    return "".join(f"{_letter(i)}{cell}" for i, cell in enumerate(cells))


def _span(first: int, last: int) -> str:
    return _letter(first) + _letter(last)


def _pairs(pairs: Iterable[tuple[int, int]]) -> str:
    return ",".join(_span(a, b) for a, b in pairs)


def _filled(cells: Cells) -> list[tuple[int, int]]:
    """Where there is something: the first and the last place of every stretch without a 0."""
    places = [i for i, cell in enumerate(cells) if cell]
    stretches = [[i for _, i in group] for _, group in groupby(enumerate(places), lambda pair: pair[1] - pair[0])]
    return [(stretch[0], stretch[-1]) for stretch in stretches]


def _compared(before: Cells, after: Cells) -> str:
    cells = "".join(f"{_letter(i)}{a}{b}" for i, (a, b) in enumerate(zip(before, after, strict=True)))
    stretches = (("".join(_span(*stretch) for stretch in _filled(row)) or "-") for row in (before, after))
    return f"{cells}:{'>'.join(stretches)}"


def _runs(cells: Cells) -> Runs:
    found, place = list[Run](), 0
    for colour, group in groupby(cells):
        size = len(list(group))
        if colour:
            found.append(Run(place, place + size - 1, colour))
        place += size
    return found


def _listed(runs: Iterable[Run]) -> str:
    return ",".join(map(str, runs)) or "-"


def _counted(places: Iterable[int]) -> str:
    return "".join(f"{_letter(place)}{i}" for i, place in enumerate(places, 1))


def _sizes(runs: Iterable[Run]) -> str:
    """The cells of every run counted: `d1g2h3,k1l2`."""
    return ",".join(_counted(range(run.first, run.last + 1)) for run in runs)


# Cells that come from elsewhere: the letter they come from, then letter and cell as in every row.


def _taken(cells: Cells, pairs: Iterable[tuple[int | None, int]]) -> str:
    """`ac0bd0`: c is 0 as a is. Where nothing is taken from, there is 0: `c0`."""
    return "".join(
        f"{_letter(to)}0" if source is None else f"{_span(source, to)}{cells[source]}" for source, to in pairs
    )


def _shifted(by: int) -> Work:
    """Every cell comes from as many letters before (or behind it), the first from the end of the row.

    a0b0c6d6g0h0
    ha0ab0bc0cd6dg6gh0
    """
    return lambda cells: [_taken(cells, [((to - by) % len(cells), to) for to in range(len(cells))])]


def _packed(kinds: Sequence[Sequence[int]], to_right: bool, becomes: int | None = None) -> Work:
    """What is of the first kind goes to the side, cell by cell, what is of the next kind follows, then come zeros.

        a0b3c0d4g0
        ba3db4
        c0d0g0

    To the right it goes from the last cell to the first, and the whole row is written once more.
    """

    def work(cells: Cells) -> list[str]:
        places = range(len(cells))[::-1] if to_right else range(len(cells))
        after, lines, free = [0] * len(cells), list[str](), iter(places)
        for kind in kinds:
            line = ""
            for source in places:
                if cells[source] in kind:
                    to = next(free)
                    after[to] = becomes or cells[source]
                    line += f"{_span(source, to)}{after[to]}"
            lines.append(line or "-")
        if to_right:
            return [*lines, _row(after)]
        return [*lines, "".join(f"{_letter(to)}0" for to in free) or "-"]

    return work


def _apart(left: int, right: int) -> Work:
    """One colour goes to the left, from the first on, the other to the right, from the last on; then the whole row.

    a1b2c0d2g0
    ba2db2
    ag1
    a2b2c0d0g1
    """

    def work(cells: Cells) -> list[str]:
        after, size = [0] * len(cells), len(cells)
        lefts = [i for i, cell in enumerate(cells) if cell == left]
        rights = [i for i, cell in enumerate(cells) if cell == right][::-1]
        moves = [list(enumerate(lefts)), [(size - 1 - i, source) for i, source in enumerate(rights)]]
        lines = []
        for move in moves:
            lines.append("".join(f"{_span(source, to)}{cells[source]}" for to, source in move) or "-")
            for to, source in move:
                after[to] = cells[source]
        return [*lines, _row(after)]

    return work


def _step_left(cells: Cells) -> list[str]:
    """Behind the first 0 everything comes one place nearer, and a 0 follows.

    a3b0c0d4g5
    b
    aa3cb0dc4gd5g0
    """
    if 0 not in cells:
        return ["-", _row(cells)]
    gap, size = cells.index(0), len(cells)
    sources = [*((i if i < gap else i + 1) for i in range(size - 1)), None]
    return [_letter(gap), _taken(cells, zip(sources, range(size), strict=True))]


def _step_right(cells: Cells) -> list[str]:
    """Before the last 0 everything comes one place nearer, and a 0 precedes: the mirror image of `_step_left`."""
    if 0 not in cells:
        return ["-", _row(cells)]
    gap = len(cells) - 1 - cells[::-1].index(0)
    sources = [None, *((i if i > gap else i - 1) for i in range(1, len(cells)))]
    return [_letter(gap), _taken(cells, zip(sources, range(len(cells)), strict=True))]


def _reversed_block(cells: Cells) -> list[str]:
    """The block's first and last letter; in the row, its cells are taken from the last to the first.

    a0b2c5d5g0
    bd
    a0db5cc5bd2g0
    """
    first, last = _filled(cells)[0]
    sources = [first + last - i if first <= i <= last else None for i in range(len(cells))]
    return [_span(first, last), _taken(cells, zip(sources, range(len(cells)), strict=True))]


def _repeated(cells: Cells) -> list[str]:
    """The cells of both patterns counted and halved, then taken again and again.

    a5b3a5b3g0h0
    a1b2c3d4:2
    aa5bb3ac5bd3ag5bh3
    """
    _, last = _filled(cells)[0]
    size = (last + 1) // 2
    pairs = [(to % size, to) for to in range(len(cells))]
    return [f"{_counted(range(last + 1))}:{size}", _taken(cells, pairs)]


def _all_five(cells: Cells) -> list[str]:
    """The row once more, with a 5 for whatever is not 0."""
    return [_row([5 if cell else 0 for cell in cells])]


# Rules about runs: the runs, some work in letters, the new runs, and the row that they make.


def _by_runs(rule: Callable[[Runs, int], tuple[list[str], Runs]]) -> Work:
    """`bc5,hh2`: runs, the work of the rule, which gets the runs and the row's size, the new runs and the new row."""

    def work(cells: Cells) -> list[str]:
        runs = _runs(cells)
        lines, new = rule(runs, len(cells))
        after = [0] * len(cells)
        for run in new:
            after[run.first : run.last + 1] = [run.colour] * run.size
        return [_listed(runs), *lines, _listed(new), _row(after)]

    return work


def _block_and_dot(runs: Runs, colour: int) -> tuple[Run, Run]:
    """The dot is the run of this colour."""
    dot = next(run for run in runs if run.colour == colour)
    return next(run for run in runs if run != dot), dot


def _to_dot(runs: Runs, _: int) -> tuple[list[str], Runs]:
    """The block's cells, the one nearest to the dot first, each with its new place: `ch,bg`, so it is `gh5,ii1`."""
    block, dot = _block_and_dot(runs, 1)
    if block.last < dot.first:
        by, places = dot.first - 1 - block.last, range(block.last, block.first - 1, -1)
    else:
        by, places = dot.first + 1 - block.first, range(block.first, block.last + 1)
    moved = Run(block.first + by, block.last + by, block.colour)
    return [_pairs((place, place + by) for place in places)], sorted([moved, dot])


def _towards_dot(steps: int) -> Callable[[Runs, int], tuple[list[str], Runs]]:
    """Both ends go step by step, the near one first, as far as they go or until it is beside the dot: `c1d2g,b1c2d`."""

    def rule(runs: Runs, _: int) -> tuple[list[str], Runs]:
        block, dot = _block_and_dot(runs, 2)
        way = 1 if block.last < dot.first else -1
        ends = (block.last, block.first) if way == 1 else (block.first, block.last)
        gone = min(steps, abs(dot.first - ends[0]) - 1)
        lines = [",".join(_stepped(end, way, gone) for end in ends)]
        return lines, sorted([Run(block.first + way * gone, block.last + way * gone, block.colour), dot])

    return rule


def _stepped(place: int, way: int, steps: int) -> str:
    return _letter(place) + "".join(f"{i}{_letter(place + way * i)}" for i in range(1, steps + 1))


def _grown_to_dot(runs: Runs, _: int) -> tuple[list[str], Runs]:
    """From the block's far end to the dot all is of the block's colour."""
    block, dot = _block_and_dot(runs, 2)
    return [], [Run(min(block.first, dot.first), max(block.last, dot.last), block.colour)]


def _mirrored(runs: Runs, _: int) -> tuple[list[str], Runs]:
    """Outwards from the dot, what is left of it and what is right, up to the block's far end: `gi,dj,ck,bl`."""
    block, dot = _block_and_dot(runs, 2)
    reach = max(abs(block.first - dot.first), abs(block.last - dot.first))
    new = Run(2 * dot.first - block.last, 2 * dot.first - block.first, block.colour)
    return [_pairs((dot.first - i, dot.first + i) for i in range(1, reach + 1))], sorted([dot, new])


def _by_own_size(runs: Runs, _: int) -> tuple[list[str], Runs]:
    """The first cell goes behind the last, the others follow: `bd,cg`."""
    (block,) = runs
    pairs = [(place, place + block.size) for place in range(block.first, block.last + 1)]
    return [_pairs(pairs)], [Run(block.last + 1, block.last + block.size, block.colour)]


def _without_dots(runs: Runs, _: int) -> tuple[list[str], Runs]:
    """What begins and ends with one letter is left out."""
    return [], [run for run in runs if run.size > 1]


def _between(runs: Runs, _: int) -> tuple[list[str], Runs]:
    return [], [Run(runs[0].first, runs[-1].last, runs[0].colour)]


def _only_ends(runs: Runs, _: int) -> tuple[list[str], Runs]:
    (block,) = runs
    return [], [Run(block.first, block.first, block.colour), Run(block.last, block.last, block.colour)]


def _one_colour(cells: Cells) -> list[str]:
    """The colour that most cells have, by votes: each cell, who leads, and by how much. Then the run and the row.

    a0b5c5d7g5h5
    b551c552d751g552h553
    bh5
    """
    (first, last), leader, lead, votes = _filled(cells)[0], 0, 0, ""
    for place in range(first, last + 1):
        if not lead:
            leader = cells[place]
        lead += 1 if cells[place] == leader else -1
        votes += f"{_letter(place)}{cells[place]}{leader}{lead}"
    after = [leader if first <= i <= last else 0 for i in range(len(cells))]
    return [votes, str(Run(first, last, leader)), _row(after)]


def _copied(runs: Runs, _: int) -> tuple[list[str], Runs]:
    """The first block counted, then as many letters around every dot, in its colour: `a1b2c3`, `ghi,klm`."""
    block, *dots = runs
    beside = block.size // 2
    new = [Run(dot.first - beside, dot.first + beside, dot.colour) for dot in dots]
    around = ",".join("".join(map(_letter, range(run.first, run.last + 1))) for run in new)
    return [_sizes([block]), around], [block, *new]


def _biggest(runs: Runs, _: int) -> tuple[list[str], Runs]:
    """The cells of each counted, and behind them the most so far: `a1b2:2,d1g2h3:3,j1k2:3`."""
    most, counts = 0, []
    for run in runs:
        most = max(most, run.size)
        counts.append(f"{_sizes([run])}:{most}")
    return [",".join(counts)], [run._replace(colour=1) if run.size == most else run for run in runs]


def _by_size(runs: Runs, _: int) -> tuple[list[str], Runs]:
    """The cells of both counted and compared, `a1b2c3,g1h2`, `3>2`: the larger one becomes 1, the other 2."""
    one, two = runs
    larger = one.size > two.size
    lines = [_sizes(runs), f"{one.size}{'>' if larger else '<'}{two.size}"]
    return lines, [one._replace(colour=1 if larger else 2), two._replace(colour=2 if larger else 1)]


def _from_palette(runs: Runs, _: int) -> tuple[list[str], Runs]:
    """The single cells at the start are the colours of the blocks in their order: each with its block, `a3gh,b4jk`."""
    palette = [run for run in runs if run.size == 1]
    blocks = [run for run in runs if run.size > 1]
    both = list(zip(palette, blocks, strict=True))
    work = ",".join(f"{_letter(c.first)}{c.colour}{_span(b.first, b.last)}" for c, b in both)
    return [work], [*palette, *(block._replace(colour=colour.colour) for colour, block in both)]


def _left_halves(runs: Runs, _: int) -> tuple[list[str], Runs]:
    """From both ends of every block inwards, `ah,bg,cd`, as long as there are two cells; the left ones become 8."""
    new, work = [], []
    for run in runs:
        middle = run.first + run.size // 2
        work.append(_pairs((run.first + i, run.last - i) for i in range(run.size // 2)))
        new += [Run(run.first, middle - 1, 8), run._replace(first=middle)]
    return [";".join(work)], new


def _sorted(runs: Runs, _: int) -> tuple[list[str], Runs]:
    """The cells of each counted, the sizes, the sizes in order, and letters for these, with one left out in between.

    ad5,hi5,kk5
    a1b2c3d4,h1i2,k1
    4,2,1
    1,2,4
    a1,c1d2,h1i2j3k4
    """
    sizes, new, place = [run.size for run in runs], list[Run](), 0
    for size in sorted(sizes):
        new.append(Run(place, place + size - 1, runs[0].colour))
        place += size + 1
    lines = [_sizes(runs), ",".join(map(str, sizes)), ",".join(map(str, sorted(sizes))), _sizes(new)]
    return lines, new


def _seeded(runs: Runs, size: int) -> tuple[list[str], Runs]:
    """The block counted, then from each single cell outwards as many, one left out, and so on to the end of the row.

    bb3,dg1,ii4
    d1g2
    b1a2
    i1j2,l1
    """
    block = next(run for run in runs if run.size > 1)
    lines, new = [_sizes([block])], [block]
    for seed in runs:
        if seed == block:
            continue
        way, counts = (1 if seed.first > block.first else -1), []
        for start in range(seed.first, size if way == 1 else -1, way * (block.size + 1)):
            places = [place for place in range(start, start + way * block.size, way) if 0 <= place < size]
            counts.append(_counted(places))
            new.append(Run(min(places), max(places), seed.colour))
        lines.append(",".join(counts))
    return lines, sorted(new)


def _filled_from_dot(runs: Runs, size: int) -> tuple[list[str], Runs]:
    """From the single cell to the end of the row on its side."""
    left, right = runs
    if left.size == 1:
        return [], [left._replace(first=0), right]
    return [], [left, right._replace(last=size - 1)]


def _filled_from_side(runs: Runs, size: int) -> tuple[list[str], Runs]:
    """Coming from the side that is 5, each cell (or two neighbours of one colour) gets all that lies before it."""
    new, met = list[Run](), (-1 if runs[0].first == 0 and runs[0].colour == 5 else size)
    to_right = met < 0
    for run in runs if to_right else runs[::-1]:
        new.append(run._replace(first=met + 1) if to_right else run._replace(last=met - 1))
        met = run.last if to_right else run.first
    return [], sorted(new)


def _marked(runs: Runs, size: int) -> tuple[list[str], Runs]:
    """Where a run's two letters are neighbours, a 3 on either side."""
    new = list[Run]()
    for run in runs:
        around = [place for place in (run.first - 1, run.last + 1) if run.size == 2 and 0 <= place < size]
        new += sorted([run, *(Run(place, place, 3) for place in around)])
    return [], new


_RULES: Mapping[str, tuple[str, Work]] = {
    **{
        f"move_{by}pix_{kind}_{way}": (f"{way} {by}", _shifted(by if way == "right" else -by))
        for by in range(1, 5)
        for kind in ("solid", "colorful", "solid_wrapped", "colorful_wrapped")
        for way in ("right", "left")
    },
    # The data set names the directions of gravity the other way round.
    "gravity_right": ("all left", _packed([range(1, 10)], to_right=False)),
    "gravity_left": ("all right", _packed([range(1, 10)], to_right=True)),
    "gravity_counting_right": ("count left", _packed([range(1, 10)], to_right=False, becomes=1)),
    "gravity_counting_left": ("count right", _packed([range(1, 10)], to_right=True, becomes=1)),
    "gravity_weighted_colors_right": ("first 2 left", _packed([[2], [1]], to_right=False)),
    "gravity_weighted_colors_left": ("first 2 right", _packed([[2], [1]], to_right=True)),
    "gravity_antigravity_right": ("2 left 1 right", _apart(2, 1)),
    "gravity_antigravity_left": ("1 left 2 right", _apart(1, 2)),
    "gravity_one_step_right": ("step left", _step_left),
    "gravity_one_step_left": ("step right", _step_right),
    "block_touch_dot": ("to dot", _by_runs(_to_dot)),
    **{f"block_touch_dot_{by}pix": (f"to dot {by}", _by_runs(_towards_dot(by))) for by in range(1, 5)},
    "block_scale_to_dot": ("grow to dot", _by_runs(_grown_to_dot)),
    "block_and_noise_remove": ("remove dots", _by_runs(_without_dots)),
    "block_and_noise_remove_inside": ("one color", _one_colour),
    "move_block_by_own_size": ("right own size", _by_runs(_by_own_size)),
    "two_points_and_fill": ("fill between", _by_runs(_between)),
    "two_points_and_fill_inv": ("only ends", _by_runs(_only_ends)),
    "copy_block_to_dots": ("copy to dots", _by_runs(_copied)),
    "copy_block_to_dots_colors": ("copy to dots", _by_runs(_copied)),
    "repeat_pattern_full": ("repeat", _repeated),
    "reflect_block_with_border_pixel": ("reverse", _reversed_block),
    "reflect_block_random": ("reverse", _reversed_block),
    "reflect_block_around_dot": ("mirror at dot", _by_runs(_mirrored)),
    "paint_biggest_block": ("largest 1", _by_runs(_biggest)),
    "recolor_blocks_by_size": ("larger 1 smaller 2", _by_runs(_by_size)),
    "change_to_five": ("all 5", _all_five),
    "recolor_blocks_from_palette": ("colors in order", _by_runs(_from_palette)),
    "color_left_half_blocks": ("left half 8", _by_runs(_left_halves)),
    "sort_blocks_by_size": ("sort", _by_runs(_sorted)),
    "sort_complete_sequence": ("sort", _by_runs(_sorted)),
    "duplicate_block_from_seeds": ("copy from dots", _by_runs(_seeded)),
    "fill_from_pixel": ("fill from dot", _by_runs(_filled_from_dot)),
    "fill_until_collision": ("fill from 5", _by_runs(_filled_from_side)),
    "mark_size_two_blocks": ("3 around 2", _by_runs(_marked)),
}
