"""Studies fit many times, and say what the fits say together.

`compare` holds engines beside one another, and against a reference where there is one.
"""

from pyrovi.studies.comparison import (
    HEAD as HEAD,
    Comparison as Comparison,
    compare as compare,
    default_engines as default_engines,
)
from pyrovi.studies.reference import Reference as Reference, reference_of as reference_of
