from pyrovi.guides.families.gaussian import mean_field as mean_field
from pyrovi.guides.families.gaussian import full_rank as full_rank
from pyrovi.guides.families.gaussian import low_rank as low_rank
from pyrovi.guides.families.gaussian import structured as structured
from pyrovi.guides.families.gaussian import map as map  # noqa: A004
from pyrovi.guides.families.flows import iaf as iaf
from pyrovi.guides.families.flows import maf as maf
from pyrovi.guides.families.flows import nsf as nsf
from pyrovi.guides.families.flows import realnvp as realnvp
from pyrovi.guides.families.mc_dropout import dropout as dropout
from pyrovi.guides.families.last_layers import last_layer as last_layer
