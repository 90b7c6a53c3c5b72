"""Thoughts for antiderivatives: term by term for polynomials, a substitution or integration by parts for the rest.

What is integrated is read from the question's own text; fractions need not be in lowest terms, for the judge compares
values. A number is a factor in an answer only where it is not 1: see `_times` and `_over`.
"""

from __future__ import annotations

import re

from denken.tasks.base import Demonstration
from denken.tasks.traces import digits, longhand
from denken.types import Problem

_TERM = re.compile(
    r"(?P<sign>[+-]?) ?(?P<number>\d+)?\*?(?P<power>[xX](?:\*\*(?P<exponent>\d+))?)?(?:/(?P<below>\d+))?"
)


def simple_integration(problem: Problem) -> Demonstration:
    """One line a term: factor, exponent and denominator; the next exponent; the factor over it, or, where that leaves
    a rest, the denominator times it; the three numbers of the new term, and the term.

    `-72*X**7/5 + 9*X**2/10 - 4*X/3 + 6`:
        -72*X**7/5: 72 7 5,7+1=8,72/8=9r0,9 8 5: -9*X**8/5
        + 9*X**2/10: 9 2 10,2+1=3,9/3=3r0,3 3 10: + 3*X**3/10
        - 4*X/3: 4 1 3,1+1=2,4/2=2r0,2 2 3: - 2*X**2/3
        + 6: 6 0 1: + 6*X
    """
    variable, lines = problem.metadata["variable"], []
    terms: list[str] = []
    for match in _TERM.finditer(problem.metadata["integrand"]):
        if (not match["number"] and not match["power"]) or match[0] == "0":
            continue
        sign = match["sign"] + (" " if terms else "")
        above, below = int(match["number"] or 1), int(match["below"] or 1)
        exponent = int(match["exponent"] or 1) if match["power"] else 0
        steps = [f"{sign}{match[0].lstrip('+- ')}: {above} {exponent} {below}"]
        if exponent:
            steps.append(f"{exponent}+1={exponent + 1}")
            line, quotient, rest = digits.divide(above, exponent + 1)
            steps.append(line)
            if rest:
                line, below = longhand.times_digit(below, exponent + 1) if exponent < 9 else _tenfold(below)
                steps.append(line)
            else:
                above = quotient
            steps.append(f"{above} {exponent + 1} {below}")
        power = f"{variable}**{exponent + 1}" if exponent else variable
        terms.append(f"{sign}{_over(_times(above, power), below)}")
        lines.append(f"{','.join(steps)}: {terms[-1]}")
    return Demonstration("\n".join(lines or ["0"]), " ".join([*terms, "+ C"] if terms else ["C"]))


def _tenfold(number: int) -> digits.Step:
    return digits.Step(f"{number}*10={number}0", number * 10)


def _times(factor: int, name: str) -> str:
    """`3*x`, `x` for 1 and `-x` for -1."""
    return f"{'-' if factor < 0 else ''}{f'{abs(factor)}*' if abs(factor) != 1 else ''}{name}"


def _over(term: str, below: int) -> str:
    return f"{term}/{below}" if below != 1 else term


_FACTOR = re.compile(r"(-?)(?:(\d+)\*)?(?=[a-z(])")
_SLOPE = re.compile(r"(?:^|[ (])(- ?|-?)(?:(\d+)\*)?x(?!\*)")
_SQUARE = re.compile(r"(-?)(?:(\d+)\*)?x\*\*2")
_INNER = re.compile(r"[a-z]+\(([^()]*)\)")


def intermediate_integration(problem: Problem) -> Demonstration:
    """The kind of integrand shows which way to go; see the functions below."""
    integrand = problem.metadata["integrand"]
    if "sin(" in integrand and "cos(" in integrand and "exp(" not in integrand:
        return _sine_and_cosine(integrand)
    if integrand.endswith(")") and ("log(" in integrand or "asin(" in integrand or "atan(" in integrand):
        return _inverse_functions(integrand)
    if re.search(r"x(?:\*\*\d)?\*[a-z]", integrand):
        return _by_parts(integrand)
    if "exp(" in integrand and ("sin(" in integrand or "cos(" in integrand):
        return _cyclic(integrand)
    if "exp(" in integrand:
        return _exponential(integrand)
    return _radical(integrand) if "sqrt(" in integrand else _linear(integrand)


def _signed(match: re.Match[str] | None) -> int:
    assert match is not None
    return int(match[1].strip() + (match[2] or "1"))


def _sine_and_cosine(integrand: str) -> Demonstration:
    """A power of one, times the other: the slope of the inside goes out, the power rises by one.

    `-27*sin(9*x - 6)*cos(9*x - 6)**4`; a cosine changes the sign, for its derivative is the negative sine:
        cos 4,-27/9=-3
        cos 3
        4+1=5
        3/5
    """
    factor, inner = _signed(_FACTOR.match(integrand)), _INNER.findall(integrand)[0]
    power = re.search(r"(sin|cos)\([^()]*\)\*\*(\d)", integrand)
    name, exponent = (power[1], int(power[2])) if power else ("sin", 1)
    slope = _signed(_SLOPE.search(inner))
    above, below = factor // slope, exponent + 1
    lines = [f"{name} {exponent},{factor}/{slope}={above}"]
    above = -above if name == "cos" else above
    lines += [f"{name} {above}", f"{exponent}+1={below}", f"{above}/{below}"]
    if abs(above) > 1 and (below % above == 0 or above % below == 0):
        common = min(abs(above), below)
        above, below = above // common, below // common
        lines[-1] += f"={above}/{below}"
    return Demonstration("\n".join(lines), f"{_over(_times(above, f'{name}({inner})**{exponent + 1}'), below)} + C")


def _inverse_functions(integrand: str) -> Demonstration:
    """By parts, with 1 as the other factor; the first line is the factor and the number inside.

    `-2*atan(3*x)`: x*atan(3*x) less log(9*x**2 + 1)/(2*3):
        atan -2 3
        3*3=9
        2*3=6
        + 2
    `3*asin(2*x)` has sqrt(1 - 4*x**2)/2 added, `2*log(x**3)` has 2*3 times x taken away.
    """
    factor = _signed(_FACTOR.match(integrand))
    name, inner = re.search(r"(log|asin|atan)\((.*)\)", integrand).groups()  # type: ignore[union-attr]
    first = f"{_times(factor, 'x')}*{name}({inner})"
    if name == "log":
        exponent = int(inner.partition("**")[2] or 1)
        lines = [f"log {factor} {exponent}", f"{abs(factor)}*{exponent}={abs(factor) * exponent}"]
        added, sign = _times(abs(factor) * exponent, "x"), -factor
    else:
        scale = _signed(_SLOPE.search(inner))
        lines = [f"{name} {factor} {scale}", f"{scale}*{scale}={scale * scale}"]
        square = _times(scale * scale, "x**2")
        if name == "asin":
            added, sign = _over(_times(abs(factor), f"sqrt(1 - {square})"), scale), factor
        else:
            lines.append(f"2*{scale}={2 * scale}")
            added, sign = _over(_times(abs(factor), f"log({square} + 1)"), 2 * scale), -factor
    joined = "-" if sign < 0 else "+"
    return Demonstration("\n".join([*lines, f"{joined} {abs(factor)}"]), f"{first} {joined} {added} + C")


# What stands beside the falling powers of x, with its sign, from the antiderivative on.
_TURNS = {
    "exp": ("+exp", "-exp", "+exp", "-exp"),
    "sin": ("-cos", "+sin", "+cos", "-sin"),
    "cos": ("+sin", "+cos", "-sin", "-cos"),
}


def _by_parts(integrand: str) -> Demonstration:
    """A power of x times exp, sin or cos: a line a step, each power falling by one as the other is integrated.

    `-3*x**2*sin(2*x)`; a line is sign and function, then factor times exponent, then the denominator times 2:
        x**2 sin 2 -3
        + cos 3 2: 3*x**2*cos(2*x)/2
        - sin 3*2=6 2*2=4: - 6*x*sin(2*x)/4
        - cos 6*1=6 4*2=8: - 6*cos(2*x)/8
    """
    factor = _signed(_FACTOR.match(integrand))
    exponent = int(re.search(r"x(?:\*\*(\d))?\*[a-z]", integrand)[1] or 1)  # type: ignore[index]
    name, inner = re.search(r"(exp|sin|cos)\((.*)\)", integrand).groups()  # type: ignore[union-attr]
    scale = _signed(_SLOPE.search(inner))
    lines, terms, above, below = [f"x**{exponent} {name} {scale} {factor}"], [], abs(factor), scale
    for step, turn in enumerate(_TURNS[name][: exponent + 1]):
        sign = "+" if (turn[0] == "+") == (factor > 0) else "-"
        work = f"{above} {below}"
        if step:
            falling = exponent - step + 1
            work = f"{above}*{falling}={above * falling} {below}*{scale}={below * scale}"
            above, below = above * falling, below * scale
        left = exponent - step
        power = f"x**{left}*" if left > 1 else "x*" if left else ""
        term = _over(_times(above, f"{power}{turn[1:]}({inner})"), below)
        terms.append(f"{sign} {term}" if step else f"{'-' if sign == '-' else ''}{term}")
        lines.append(f"{sign} {turn[1:]} {work}: {terms[-1]}")
    return Demonstration("\n".join(lines), " ".join([*terms, "+ C"]))


def _cyclic(integrand: str) -> Demonstration:
    """exp(x)*sin(x) comes back after two steps: half of exp(x)*sin(x) - exp(x)*cos(x), or plus for the cosine.

    `-3*exp(x)*cos(x)`:
        cos -3 -3
        -3/2
    """
    factor = _signed(_FACTOR.match(integrand))
    name = "sin" if "sin(" in integrand else "cos"
    second = -factor if name == "sin" else factor
    above, below = (abs(factor) // 2, 1) if factor % 2 == 0 else (abs(factor), 2)
    half = f"{'-' if factor < 0 else ''}{above}/{below}"
    first = _over(_times(above, "exp(x)*sin(x)"), below)
    last = _over(_times(above, "exp(x)*cos(x)"), below)
    answer = f"{'-' if factor < 0 else ''}{first} {'-' if second < 0 else '+'} {last} + C"
    return Demonstration(f"{name} {factor} {second}\n{half}", answer)


def _exponential(integrand: str) -> Demonstration:
    """The factor over the slope of the exponent; of a quadratic one the factors of x are compared.

    `(12 - 36*x)*exp(6*x**2 - 4*x + 2)`:
        2*6=12
        -36/12=-3
    """
    outer, _, exponent = integrand.rpartition("exp(")
    square = _SQUARE.search(exponent)
    if square:
        slope, factor = 2 * _signed(square), _signed(_SLOPE.search(outer))
        lines = [f"2*{slope // 2}={slope}"]
    else:
        slope, factor, lines = _signed(_SLOPE.search(exponent)), _signed(_FACTOR.match(integrand)), []
    value = factor // slope
    return Demonstration("\n".join([*lines, f"{factor}/{slope}={value}"]), f"{_times(value, f'exp({exponent}')} + C")


def _radical(integrand: str) -> Demonstration:
    """The factor over the slope, times two thirds. `18*sqrt(9*x + 3)`:
    18/9=2
    2*2=4
    4/3
    """
    factor, inner = _signed(_FACTOR.match(integrand)), _INNER.findall(integrand)[0]
    slope = _signed(_SLOPE.search(inner))
    share = factor // slope
    above, below = (2 * share // 3, 1) if share % 3 == 0 else (2 * share, 3)
    lines = [f"{factor}/{slope}={share}", f"2*{share}={2 * share}", f"{2 * share}/3"]
    if below == 1:
        lines[-1] += f"={above}"
    return Demonstration("\n".join(lines), f"{_over(_times(above, f'({inner})**(3/2)'), below)} + C")


def _linear(integrand: str) -> Demonstration:
    """A power of a linear expression: the exponent rises by one, slope times that goes below.

    `-3*(5*x - 4)**2`:
        -3 5 2
        2+1=3
        5*3=15
    """
    factor = _signed(_FACTOR.match(integrand))
    inner, exponent = re.search(r"\((.*)\)\*\*(\d)", integrand).groups()  # type: ignore[union-attr]
    slope, power = _signed(_SLOPE.search(inner)), int(exponent) + 1
    lines = [f"{factor} {slope} {exponent}", f"{exponent}+1={power}", f"{slope}*{power}={slope * power}"]
    return Demonstration("\n".join(lines), f"{_over(_times(factor, f'({inner})**{power}'), slope * power)} + C")
