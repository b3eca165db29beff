from pyrovi import models as models
from pyrovi.tree import data_tree as data_tree
from pyrovi.bound import bind as bind
from pyrovi.bound import with_priors as with_priors
from pyrovi.bound import with_likelihood as with_likelihood
from pyrovi.infer import fit as fit
from pyrovi.infer.engines import *
from pyrovi import guides as guides
from pyrovi.infer import Fit as Fit
from pyrovi.infer import Status as Status
from pyrovi.infer import linear_response as linear_response
from pyrovi.posterior import draw as draw
from pyrovi.posterior import predict as predict
from pyrovi.posterior import tree_of as tree_of
from pyrovi.diagnostics import check as check
from pyrovi.diagnostics import verdict as verdict
from pyrovi.diagnostics import Verdict as Verdict
from pyrovi.reports import report as report
from pyrovi.reports import Report as Report
from pyrovi.studies import compare as compare
from pyrovi.studies import Comparison as Comparison
from pyrovi.tree import save as save
from pyrovi.tree import open_tree as open_tree
from pyrovi import az as az
from pyrovi import diagnostics as diagnostics
from pyrovi import errors as errors
from pyrovi import infer as infer
from pyrovi import posterior as posterior
from pyrovi import reports as reports
from pyrovi import studies as studies
from pyrovi import tree as tree
from pyrovi.errors import PyroviError as PyroviError
from pyrovi.errors import PyroviWarning as PyroviWarning

__version__: str
