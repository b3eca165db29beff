"""Numbers as a reader wants them: as many digits as they deserve, and no more."""

import math

MINUS = "\N{MINUS SIGN}"


def short(value: float, digits: int = 3) -> str:
    """``value`` to ``digits`` significant digits, with a real minus sign.

    >>> short(0.71234), short(1234567.0), short(float("nan"))
    ('0.712', '1.23e+06', 'not a number')
    """
    value = float(value)
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return f"{MINUS if value < 0 else ''}infinite"
    if value == int(value) and abs(value) < 10**6:
        return str(int(value)).replace("-", MINUS)
    if 1000 <= abs(value) < 10**6:
        return f"{value:.0f}".replace("-", MINUS)
    return f"{value:.{digits}g}".replace("-", MINUS)


def decimals(sd: float) -> int | None:
    """Decimals that show two significant digits of ``sd``; None where only an exponent would do.

    >>> decimals(3.3), decimals(0.021), decimals(1e-9)
    (1, 3, None)
    """
    if not math.isfinite(sd) or sd <= 0:
        return 3
    places = 1 - math.floor(math.log10(sd))
    if places > 6 or places < -4:
        return None
    return max(0, places)


def fixed(value: float, places: int | None) -> str:
    """``value`` with ``places`` decimals, so that the numbers of one row line up.

    >>> fixed(4.417, 1), fixed(float("inf"), 1)
    ('4.4', 'infinite')
    """
    if not math.isfinite(value):
        return short(value)
    text = f"{value:.2e}" if places is None else f"{value:.{places}f}"
    zero = float(text) == 0 and text.startswith("-")
    return (text[1:] if zero else text).replace("-", MINUS)


def seconds(value: float) -> str:
    """A duration.

    >>> seconds(0.04), seconds(12.3), seconds(200.0)
    ('0.04 s', '12 s', '3 min 20 s')
    """
    if not math.isfinite(value):
        return "unknown"
    if value < 120:
        return f"{value:.2g} s" if value < 10 else f"{value:.0f} s"
    return f"{int(value // 60)} min {int(value % 60)} s"
