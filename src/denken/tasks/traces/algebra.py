"""Thoughts for fractions, equations with one unknown, complex numbers and polynomials: written arithmetic, in order."""

from __future__ import annotations

import re

from denken.tasks.base import Demonstration
from denken.tasks.traces import digits, longhand
from denken.tasks.traces.division import euclid
from denken.types import Problem


def fraction_simplification(problem: Problem) -> Demonstration:
    """Euclid's algorithm, larger number first, then both numbers over what it ends in; the answer is in the
    question's own notation.

    `65/48425`:
        48425/65[484/65=7[455]r29,292/65=4[260]r32,325/65=5[325]r0]=745r0
        gcd 65
        65/65=1[65]r0
        48425/65[...]=745r0
    """
    above, below = problem.metadata["numerator"], problem.metadata["denominator"]
    lines, common = euclid(above, below)
    lines.append(f"gcd {common}")
    if common > 1:
        lines += [digits.divide(number, common)[0] for number in (above, below)]
    return Demonstration("\n".join(lines), problem.answer)


_EQUATION = re.compile(r"(?P<terms>.*?) = (?P<right>-?\d+)$")
_TERM = re.compile(r"([+-]?)(?:(\d+)(\*?[a-z])?|([a-z]))")


def simple_equations(problem: Problem) -> Demonstration:
    """The constant goes to the other side, then both sides are divided by the factor of the unknown.

    The unknown is whole and not above 10,000, so five leading digits of the factor are enough: as many digits are cut
    off on the other side, and the quotient's whole part is the unknown. `32470676 - 2286*o = 26979704`:
        -2286*o=26979704-32470676
        26979704-32470676=-(32470676-26979704)[6-4=2,...]=-5490972
        5490972/2286
        5490:54/22=2 2286*2[...]=4572 5490-4572[...]=918
        9189:91/22=4 2286*4[...]=9144 9189-9144[...]=45
        457:4/22=0
        4572:45/22=2 2286*2[...]=4572 4572-4572[...]=0
        =2402r0
    """
    equation = _EQUATION.match(problem.metadata["equation"])
    assert equation is not None, problem.metadata["equation"]
    right, factor, lines = int(equation["right"]), 1, []
    constants = []
    for sign, number, unknown, alone in _TERM.findall(equation["terms"].replace(" ", "")):
        signed = int(f"{sign}{number or 1}")
        if unknown or alone:
            factor = signed
        else:
            constants.append(signed)
    for constant in constants:
        lines.append(f"{factor}*{problem.metadata['variable']}={right}{'-' if constant > 0 else '+'}{abs(constant)}")
        line, right = digits.add(right, -constant)
        lines.append(line)
    if abs(factor) > 1:
        lines.append(_whole_quotient(abs(right), abs(factor), 5))
    value = right // factor
    return Demonstration("\n".join(lines or [f"={value}"]), str(value))


def _whole_quotient(above: int, below: int, carried: int) -> str:
    """The work of an exact quotient of at most 10**(carried-1), by the leading `carried` digits of the divisor.

    What is cut off makes the quotient larger by less than one: (below / cut - 1) * quotient < 1.
    """
    surplus = max(len(str(below)) - carried, 0)
    return longhand.quotient(above // 10**surplus, below // 10**surplus)[0]


def complex_arithmetic(problem: Problem) -> Demonstration:
    """Real parts, then imaginary parts; a quotient is a product with the conjugate over the square of the modulus.

    `(28.0 - 18.0i) × (99.0 + 64.0i)` names the four numbers a b c d first:
        28 -18 99 64
        ac 28*99...=2772
        bd -18*64=-(18*64)...=-1152
        ad 28*64...=1792
        bc -18*99=-(18*99)...=-1782
        ac-bd 2772--1152=2772+1152[...]=3924
        ad+bc 1792-1782[...]=10
    A quotient has ac+bd, bc-ad, then cc, dd and cc+dd, by which both are divided: by its three
    leading digits, for neither part of the quotient is above 100.
    """
    a, b = (int(part) for part in problem.metadata["num1"])
    c, d = (int(part) for part in problem.metadata["num2"])
    operator, lines = problem.metadata["operation"], [f"{a} {b} {c} {d}"]

    def product(name: str, x: int, y: int) -> int:
        line, value = digits.multiply(x, y)
        lines.append(f"{name} {line}{'' if line.endswith(f'={value}') else f'{chr(10)}={value}'}")
        return value

    def total(name: str, x: int, operator: str, y: int) -> int:
        line, value = digits.add(x, y if operator == "+" else -y)
        lines.append(f"{name} {x}{operator}{y}={line}" if y < 0 else f"{name} {line}")
        return value

    if operator in "+-":
        real, imaginary = total(f"a{operator}c", a, operator, c), total(f"b{operator}d", b, operator, d)
    else:
        ac, bd, ad, bc = product("ac", a, c), product("bd", b, d), product("ad", a, d), product("bc", b, c)
        if operator == "*":
            real, imaginary = total("ac-bd", ac, "-", bd), total("ad+bc", ad, "+", bc)
        else:
            real, imaginary = total("ac+bd", ac, "+", bd), total("bc-ad", bc, "-", ad)
            modulus = total("cc+dd", product("cc", c, c), "+", product("dd", d, d))
            lines += [_whole_quotient(abs(part), modulus, 3) for part in (real, imaginary)]
            real, imaginary = real // modulus, imaginary // modulus
    lines.append(f"={real} {imaginary}")
    return Demonstration("\n".join(lines), problem.answer)


_MONOMIAL = re.compile(r"([+-]?)(?:(\d+)\*?)?([a-zA-Z])?(?:\*\*(\d+))?")


def polynomial_multiplication(problem: Problem) -> Demonstration:
    """Polynomials from the left: one power after the other from the highest, each product of coefficients that
    belongs to it, and their running total.

    `(12 - 49*x)*(21*x + 96)` is first written as coefficients with their powers:
        -49x1 12x0,21x1 96x0
        x2 1+1 -49*21 -
        49*1=4|9
        49*2+4[9*2+4=22,4*2+2=10]=10|29
        =-1029
        ...
        -1029x2 -4452x1 1152x0
    """
    factors = _polynomials(problem.metadata["polynomial_expr"])
    variable = next((v for v in problem.metadata["variables"]), "x")
    value, *rest = factors
    lines = [",".join(_coefficients(p, variable) for p in factors)]
    for factor in rest:
        line, value = _times(value, factor, variable)
        lines += [line, _coefficients(value, variable)]
    return Demonstration("\n".join(lines), _written(value, variable))


Polynomial = dict[int, int]


def _polynomials(expression: str) -> list[Polynomial]:
    """The factors of a product as the library writes it, in order: power to coefficient."""
    found = []
    for part in re.findall(r"\([^)]*\)(?:\*\*\d+)?|[^()]+", expression.replace(" ", "")):
        body, _, power = part.rpartition(")**") if ")**" in part else (part, "", "1")
        body = body.strip("()*") if part.startswith("(") else part.strip("*")
        if body:
            found += [_polynomial(body)] * int(power or 1)
    return found


def _polynomial(text: str) -> Polynomial:
    found: Polynomial = {}
    if text == "-":
        return {0: -1}
    for sign, number, variable, power in _MONOMIAL.findall(text):
        if number or variable:
            exponent = int(power or 1) if variable else 0
            found[exponent] = found.get(exponent, 0) + int(f"{sign}{number or 1}")
    return found


def _coefficients(polynomial: Polynomial, variable: str) -> str:
    return " ".join(f"{polynomial[power]}{variable}{power}" for power in sorted(polynomial, reverse=True))


def _times(a: Polynomial, b: Polynomial, variable: str) -> tuple[str, Polynomial]:
    lines, value = [], {}
    for power in sorted({i + j for i in a for j in b}, reverse=True):
        total: int | None = None
        for i in sorted(a, reverse=True):
            if power - i in b:
                line, term = _term(a[i], b[power - i])
                lines.append(f"{variable}{power} {i}+{power - i} {line}")
                if total is not None:
                    line, term = digits.add(total, term)
                    lines.append(line)
                total = term
        if total:
            value[power] = total
    return "\n".join(lines), value


def _term(x: int, y: int) -> tuple[str, int]:
    """The product of two coefficients: its sign, the work on the unsigned numbers, the signed product."""
    rows = longhand.product(abs(x), abs(y)).text.removeprefix(f"{max(abs(x), abs(y))}*{min(abs(x), abs(y))}\n")
    rows = rows.rpartition("\n=")[0] or rows
    return f"{x}*{y}{' -' if x * y < 0 else ''}\n{rows}\n={x * y}", x * y


def _written(polynomial: Polynomial, variable: str) -> str:
    """As the question writes polynomials: `-1029*x**2 - 4452*x + 1152`."""
    out = ""
    for power in sorted(polynomial, reverse=True):
        coefficient = polynomial[power]
        name = "" if power == 0 else variable if power == 1 else f"{variable}**{power}"
        number = str(abs(coefficient)) if abs(coefficient) != 1 or not name else ""
        sign = ("-" if coefficient < 0 else "") if not out else (" - " if coefficient < 0 else " + ")
        out += f"{sign}{number}{'*' if number and name else ''}{name}"
    return out or "0"
