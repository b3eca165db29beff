from pyrovi.guides.families import *
from pyrovi.guides.registry import FAMILIES as FAMILIES
from pyrovi.guides.family import Family as Family
from pyrovi.guides.family import detached as detached
from pyrovi.guides.given import own_guide as own_guide
from pyrovi.guides.families.flows import AutoFlow as AutoFlow
from pyrovi.guides.families.mc_dropout import column_kl as column_kl
from pyrovi.guides.families.mc_dropout import keep_mask as keep_mask
from pyrovi.guides.families.mc_dropout import weight_decay as weight_decay
