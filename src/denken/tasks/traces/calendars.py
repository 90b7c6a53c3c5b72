"""Thoughts about dates: weekdays are numbers from Monday 0 to Sunday 6, dates are days since the year began.

To know by heart are how many days of a year lie before each month, how long the months are, and which weekday the
year asked about began with.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date

from denken.tasks.base import Demonstration
from denken.tasks.traces import digits
from denken.types import Problem

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS: tuple[str, ...] = ("January", "February", "March", "April", "May", "June", "July")
MONTHS += ("August", "September", "October", "November", "December")
_COUNTED = re.compile(rf"(?:How many|occurrences of|times does) ({'|'.join(_DAYS)})")
_ORDINALS = {"first": 0, "second": 7, "third": 14, "fourth": 21}


def calendar_arithmetic(problem: Problem) -> Demonstration:
    """By the kind of question; this is "How many Sundays are there from Wednesday, January 12 to ... February 27?"

    January 0+12=12
    February 31+27=58
    58-12[8-2=6,5-1=4]=46
    Wednesday 2 Sunday 6
    6-2=4
    46-4[6-4=2,4-0=4]=42
    42/7=6r0
    6+1=7
    """
    lines, answer = _KINDS[problem.metadata["task"]](problem)
    return Demonstration("\n".join(lines), answer)


def _days_into_the_year(day: date) -> tuple[str, int]:
    """`February 31+27=58`"""
    before = (date(day.year, day.month, 1) - date(day.year, 1, 1)).days
    return f"{MONTHS[day.month - 1]} {before}+{day.day}={before + day.day}", before + day.day


def _remainder_of_weeks(days: int) -> tuple[str, int]:
    return digits.divide(days, 7)[0], days % 7


def _around(a: int, b: int) -> tuple[str, int]:
    """a + b brought back into a week: `5+3=8-7=1`, `2-3=-1+7=6`."""
    total, back = a + b, (a + b) % 7
    written = f"{a}{'+' if b >= 0 else '-'}{abs(b)}={total}"
    return written if total == back else f"{written}{'-' if total > 6 else '+'}7={back}", back


def _weekday_offset(problem: Problem) -> tuple[list[str], str]:
    start, offset = date.fromisoformat(problem.metadata["start_date"]), int(problem.metadata["offset_days"])
    weeks, rest = _remainder_of_weeks(abs(offset))
    line, found = _around(start.weekday(), rest if offset > 0 else -rest)
    return [f"{_DAYS[start.weekday()]} {start.weekday()}", weeks, line, f"{found} {_DAYS[found]}"], _DAYS[found]


def _weekday_after(first: int, target: date) -> tuple[list[str], str]:
    line, day = _days_into_the_year(target)
    weeks, rest = _remainder_of_weeks(day - 1)
    around, found = _around(first, rest)
    start = f"{_DAYS[first]} {first}"
    return [start, line, f"{day}-1={day - 1}", weeks, around, f"{found} {_DAYS[found]}"], _DAYS[found]


def _weekday_of_date(problem: Problem) -> tuple[list[str], str]:
    target = date.fromisoformat(problem.metadata["target_date"])
    return _weekday_after(date(target.year, 1, 1).weekday(), target)


def _weekday_from_first(problem: Problem) -> tuple[list[str], str]:
    first = _DAYS.index(problem.metadata["first_day"])
    return _weekday_after(first, date.fromisoformat(problem.metadata["target_date"]))


def _recurring_event_day(problem: Problem) -> tuple[list[str], str]:
    """The weekday of the month's first, from there to the first one wanted, then a week at a time."""
    year, month, wanted = problem.metadata["year"], problem.metadata["month"], problem.metadata["weekday"]
    first, begins = date(year, month, 1), date(year, 1, 1).weekday()
    before = (first - date(year, 1, 1)).days
    weeks, rest = _remainder_of_weeks(before)
    around, opening = _around(begins, rest)
    steps, ahead = _around(_DAYS.index(wanted), -opening)
    lines = [f"{_DAYS[begins]} {begins}", f"{MONTHS[month - 1]} {before}", weeks, around]
    lines += [f"{wanted} {_DAYS.index(wanted)}", steps, f"{ahead}+1={ahead + 1}"]
    day = ahead + 1
    if problem.metadata["ordinal"] != "last":
        days_later = _ORDINALS[problem.metadata["ordinal"]]
        return [*lines, f"{day}+{days_later}={day + days_later}"], str(day + days_later)
    length = (date(year + month // 12, month % 12 + 1, 1) - first).days
    chain = [day + 7 * i for i in range((length - day) // 7 + 2)]
    return [*lines, f"{MONTHS[month - 1]} {length}", f"{' '.join(map(str, chain))}>{length}"], str(chain[-2])


def _span(problem: Problem) -> tuple[list[str], date, int]:
    """From the first date to the second: the lines, the first, the days between; an earlier date is next year's."""
    start, end = (date.fromisoformat(problem.metadata[name]) for name in ("start_date", "end_date"))
    (one, first), (other, last) = _days_into_the_year(start), _days_into_the_year(end)
    lines = [one, other]
    if end.year > start.year:
        line, last = digits.add(last, 365)
        lines.append(line)
    line, days = digits.add(last, -first)
    return [*lines, line], start, days


def _count_days(problem: Problem) -> tuple[list[str], str]:
    lines, start, days = _span(problem)
    counted = _COUNTED.search(problem.prompt)
    assert counted is not None, problem.prompt
    wanted = _DAYS.index(counted[1])
    steps, ahead = _around(wanted, -start.weekday())
    lines += [f"{_DAYS[start.weekday()]} {start.weekday()} {counted[1]} {wanted}", steps]
    if ahead > days:
        return [*lines, f"{ahead}>{days}"], "0"
    line, left = digits.add(days, -ahead)
    weeks, _ = _remainder_of_weeks(left)
    return [*lines, line, weeks, f"{left // 7}+1={left // 7 + 1}"], str(left // 7 + 1)


def _count_business_days(problem: Problem) -> tuple[list[str], str]:
    """Five for each whole week, then the days that are left one by one from the first date's weekday."""
    lines, start, days = _span(problem)
    weeks, rest = _remainder_of_weeks(days + 1)
    lines += [f"{days}+1={days + 1}", weeks, f"{(days + 1) // 7}*5={(days + 1) // 7 * 5}"]
    count, marks = (days + 1) // 7 * 5, []
    for i in range(rest):
        weekday = (start.weekday() + i) % 7
        count += weekday < 5
        marks.append(f"{weekday}:{count}")
    lines.append(f"{_DAYS[start.weekday()]} {start.weekday()} {rest}")
    return [*lines, *([" ".join(marks)] if marks else []), f"={count}"], str(count)


def _is_leap_year(problem: Problem) -> tuple[list[str], str]:
    """The last two digits by 4; where they are 00, the digits before them."""
    year = int(problem.metadata["year"])
    part = year % 100 or year // 100
    line, _, rest = digits.divide(part, 4)
    return [line], "No" if rest else "Yes"


_KINDS: dict[str, Callable[[Problem], tuple[list[str], str]]] = {
    "weekday_offset": _weekday_offset,
    "weekday_of_date": _weekday_of_date,
    "weekday_of_date_from_first_date": _weekday_from_first,
    "recurring_event_day": _recurring_event_day,
    "count_days": _count_days,
    "count_business_days": _count_business_days,
    "is_leap_year": _is_leap_year,
}
