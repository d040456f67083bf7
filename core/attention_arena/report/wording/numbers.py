"""Numbers as a reader wants them: few digits, a unit, the same decimals down a column."""

from __future__ import annotations

from attention_arena.statistics import Interval

MINUS = "\N{MINUS SIGN}"


def significant(value: float, digits: int = 3) -> str:
    """Return `value` to so many significant digits, without an exponent where it is of human size."""
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e15:
        return f"{value:.{digits - 1}e}".replace("-", MINUS)
    rounded = float(f"{value:.{digits - 1}e}")
    decimals = 0
    while decimals < 8 and abs(rounded) * 10**decimals < 10 ** (digits - 1):
        decimals += 1
    return f"{rounded:,.{decimals}f}".replace("-", MINUS)


def _scaled(value: float, step: float, units: tuple[str, ...]) -> str:
    scale = 0
    # Judged as rounded, so that no number needs a fourth digit: 999.6 is 1.00 k, and 1010 bytes are 0.986 KiB.
    while abs(float(f"{value:.2e}")) >= 1000 and scale < len(units) - 1:
        value /= step
        scale += 1
    return f"{significant(value)} {units[scale]}".rstrip()


def count(value: float) -> str:
    """Return a count or a rate with an SI prefix: `12.3 k`."""
    return _scaled(value, 1000.0, ("", "k", "M", "G", "T", "P"))


def tick(value: float) -> str:
    """Return a count at an axis, without trailing zeros: `2 k`."""
    number, _, unit = count(value).partition(" ")
    number = number.rstrip("0").rstrip(".") if "." in number else number
    return f"{number} {unit}".rstrip()


def size(value: float) -> str:
    """Return bytes: `1.5 GiB`."""
    return _scaled(value, 1024.0, ("B", "KiB", "MiB", "GiB", "TiB"))


def ratio(value: float) -> str:
    """Return a ratio: `1.25×`."""
    return f"{significant(value)}×"


def decimals_for(values: list[float], percent: bool) -> int:
    """Return how many decimals a column of scores needs."""
    if percent:
        return 1
    largest = max((abs(value) for value in values), default=1.0)
    return 3 if largest < 10 else 2 if largest < 100 else 1


def fixed(value: float, decimals: int) -> str:
    """Return `value` with so many decimals."""
    return f"{value:,.{decimals}f}".replace("-", MINUS)


def spread(interval: Interval, decimals: int) -> str:
    """Return an interval beside its value: `± 0.012` where it is symmetric as far as shown, else `[0.48, 0.53]`."""
    if interval.low is None or interval.high is None:
        return ""
    if abs(interval.low + interval.high - 2 * interval.value) >= 10.0**-decimals:
        return f"[{fixed(interval.low, decimals)}, {fixed(interval.high, decimals)}]"
    return f"± {fixed((interval.high - interval.low) / 2, decimals)}"
