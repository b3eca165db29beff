"""Studies fit many times, and say what the fits say together.

`compare` holds engines beside one another, and against a reference where there is one.
"""

from pyrovi.studies.comparison import HEAD, Comparison, compare, default_engines
from pyrovi.studies.reference import Reference, reference_of

__all__ = [
    "HEAD",
    "Comparison",
    "Reference",
    "compare",
    "default_engines",
    "reference_of",
]
