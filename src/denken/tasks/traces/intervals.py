"""Thoughts about spans of time: dates as days since the year began, clocks from the smallest unit up."""

from __future__ import annotations

from datetime import datetime

from denken.tasks.base import Demonstration
from denken.tasks.traces import digits
from denken.tasks.traces.calendars import MONTHS
from denken.types import Problem

_BEFORE = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)


def time_intervals(problem: Problem) -> Demonstration:
    """Days first, where the question has dates, then milliseconds, seconds, minutes and hours as far as it shows them.

    Where a 29 February may lie between, the year is divided by 4 and a day added if nothing is left. Hours take in the
    two offsets from Greenwich. What is below 0 gets one of the next larger unit, which that then lacks. Dates with
    their weekday in brackets are compared without their clocks, as the data set does. Its milliseconds are often one
    short, which costs a millionth of a mark and is left to it.

    `2019-07-29 08:45 +0700 ... 2019-09-06 13:53 +0900 ... D days, HH:MM:SS`:
        July 181+29=210
        September 243+6=249
        249-210[9-0=9,4-1=3,2-2=0]=39
        minutes 53-45[13-5=8,5-4-1=0]=8
        hours 13-8[13-8=5,1-0-1=0]=5+7=12-9=3
        =39 days, 03:08:00
    """
    metadata = problem.metadata
    start, end = (datetime.fromisoformat(metadata[name]) for name in ("start_time", "end_time"))
    shape, written = metadata["format"], metadata["expected_format"]
    lines, days = _days_between(start, end) if "%d" in shape else ([], 0)
    parts = {"hours": 0, "minutes": 0, "seconds": 0, "milliseconds": 0}
    if "%H" in shape and "(%A)" not in shape:
        borrowed = 0
        shown = [("milliseconds", 1000)] if "%f" in shape else []
        for unit, size in [*shown, *([("seconds", 60)] if "%S" in shape else []), ("minutes", 60), ("hours", 24)]:
            line, parts[unit], borrowed = _difference(unit, size, start, end, borrowed)
            lines.append(line)
        if borrowed:
            lines.append(f"{days}{'-' if borrowed > 0 else '+'}{abs(borrowed)}={days - borrowed}")
            days -= borrowed
    clock = f"{parts['hours']:02d}:{parts['minutes']:02d}"
    clock += f":{parts['seconds']:02d}" if "SS" in written else ""
    clock += f".{parts['milliseconds']:03d}" if "mmm" in written else ""
    answer = clock if "D" not in written else f"{days} days" + (f", {clock}" if "HH" in written else "")
    return Demonstration("\n".join([*lines, f"={answer}"]), answer)


def _days_between(start: datetime, end: datetime) -> tuple[list[str], int]:
    first, last = (_BEFORE[day.month - 1] + day.day for day in (start, end))
    lines = [
        f"{MONTHS[day.month - 1]} {_BEFORE[day.month - 1]}+{day.day}={number}"
        for day, number in ((start, first), (end, last))
    ]
    if end.year > start.year:
        line, last = digits.add(last, 365)
        lines.append(line)
    line, days = digits.add(last, -first)
    lines.append(line)
    if end.month > 2 and (start.month <= 2 or end.year > start.year):
        line, _, rest = digits.divide(end.year % 100 or end.year // 100, 4)
        lines.append(line)
        if not rest:
            lines.append(f"{days}+1={days + 1}")
            days += 1
    return lines, days


def _difference(unit: str, size: int, start: datetime, end: datetime, borrowed: int) -> tuple[str, int, int]:
    """One unit of the clock: the line, what it shows, and how many of the next larger one are to be taken away."""
    a, b = (_reading(moment, unit) for moment in (end, start))
    line, value = digits.add(a, -b)
    more = [-borrowed] if borrowed else []
    if unit == "hours" and start.tzinfo:
        more += [_offset(start), -_offset(end)]
    for term in more:
        value += term
        line += f"{'+' if term >= 0 else '-'}{abs(term)}={value}"
    back = -(value // size)
    if back:
        line += f"{'+' if back > 0 else '-'}{abs(back) * size}={value + back * size}"
    return f"{unit} {line}", value + back * size, back


def _offset(moment: datetime) -> int:
    offset = moment.utcoffset()
    return round(offset.total_seconds() / 3600) if offset else 0


def _reading(moment: datetime, unit: str) -> int:
    readings = {"hours": moment.hour, "minutes": moment.minute, "seconds": moment.second}
    return readings.get(unit, moment.microsecond // 1000)
