"""Last words of a report."""

import xarray as xr

from pyrovi.diagnostics import Verdict
from pyrovi.reports import Section


def toy_words_section(tree: xr.DataTree, verdict: Verdict) -> Section:
    """How many draws there were to judge, and what was said of them."""
    draws = tree["posterior"].sizes["draw"]
    said = f"{draws} draws were judged, and the word is {verdict.status}."
    return Section(id="toy-words", title="Last words", text=(said,))
