"""Lists, counts and errors in one line; and whether a word is a number."""

from collections.abc import Sequence


def listed(names: Sequence[str], most: int, between: str = ", ") -> str:
    """The first ``most`` of ``names``, and how many more there are.

    >>> listed(["a", "b"], 3), listed(["a", "b", "c"], 2)
    ('a, b', 'a, b and 1 more')
    """
    more = len(names) - most
    return between.join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def count(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun.

    >>> count(1, "quantity", "quantities"), count(1200, "draw")
    ('1 quantity', '1,200 draws')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def is_number(text: str) -> bool:
    """Whether text reads as a number.

    >>> is_number("1e3"), is_number("nan"), is_number("A1")
    (True, True, False)
    """
    try:
        float(text)
    except ValueError:
        return False
    return True


def one_line(error: BaseException) -> str:
    r"""The kind of an error, and the first line of what it says.

    >>> one_line(ValueError("no such shape\nin layer 2"))
    'ValueError: no such shape'
    """
    first = next((line for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first.strip()}"
