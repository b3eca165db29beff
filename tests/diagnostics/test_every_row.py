"""Each kind of row that a check can give is shown a tree in which it has something to say."""

import numpy as np
import pytest
import xarray as xr

import trees
from pyrovi.diagnostics import CHECKS
from pyrovi.evidence import SEVERITY
from pyrovi.tree import CHAINS, DRAWS, INDEPENDENT, MODES_OF, OF_ALL, OF_REST, POINTS, grow

DIMS = ("chain", "draw")
made = trees.linear_gaussian_tree


def with_stats(tree, attrs=None, **variables):
    """The tree with other variables, or attributes, in `sample_stats`."""
    stats = tree["sample_stats"].to_dataset().assign(variables)
    return grow(tree, sample_stats=stats.assign_attrs(attrs or {}))


def with_loss(*curve):
    return with_stats(made(draws=50), loss=(("chain", "step"), np.array([curve], float)))


def with_optimum(error):
    return with_stats(made(draws=50), optimum_error=(("chain", "latent"), [[0.0, error]])).pipe(
        lambda tree: with_stats(tree, latent=("latent", ["alpha", "beta"]))
    )


def with_elbos(*elbos, noise=0.0):
    """Restarts with these ELBOs, whose Monte Carlo error is a tenth of the noise."""
    terms = noise * np.resize([-1.0, 1.0], (1, 100))
    stats = xr.Dataset({"restart_elbo": ("restart", np.array(elbos))})
    densities = {"log_joint": (DIMS, terms), "log_guide": (DIMS, 0 * terms)}
    return grow(made(draws=100), sample_stats=stats.assign(densities))


def sampled(draws, diverging=0):
    flags = np.arange(draws.size).reshape(draws.shape) < diverging
    return grow(
        xr.DataTree(),
        posterior=xr.Dataset({"a": (DIMS, draws)}),
        sample_stats=xr.Dataset({"diverging": (DIMS, flags)}, attrs={DRAWS: CHAINS}),
    )


def normals(*shape):
    return np.random.default_rng(0).normal(size=shape)


def pointed(points, kind=POINTS, chains=1):
    """Draws of so many points, without a density."""
    tree = made(draws=400, chains=chains)
    few = tree["posterior"].to_dataset().isel(draw=np.arange(400) % points)
    stats = xr.Dataset(attrs={DRAWS: kind})
    return xr.DataTree.from_dict({"posterior": few, "sample_stats": stats})


def with_modes(found, evidence=None, held=None, placed=True, draws=1000):
    """Modes at 0, 30, 60 ... of sd one, found so often, with this log evidence."""
    share = np.exp(np.array(evidence or [0.0] * len(found), float))
    here = [True] * len(found) if held is None else held
    modes = {"mode_found": found, "mode_share": share / share.sum(), "mode_held": here}
    variables = {name: ("mode", value) for name, value in modes.items()}
    if placed:
        loc = 30.0 * np.arange(len(found))[:, None]
        variables["mode_loc"] = ("mode", "latent"), loc
        variables["mode_scale"] = ("mode", "latent"), np.ones_like(loc)
    return with_stats(made(draws=draws), {MODES_OF: OF_ALL if placed else OF_REST}, **variables)


def half_of_two(*, placed=True):
    return with_modes([9, 9], held=[True, False], placed=placed)


def many_modes_once():
    """One was met again and again; those with a thousandth of it were each met once."""
    return with_modes([9, *[1] * 9], evidence=[0.0, *[-7.0] * 9])


def weightless_modes_once():
    """The same, of modes with next to nothing of the posterior: others of these change nothing."""
    return with_modes([9, *[1] * 9], evidence=[0.0, *[-40.0] * 9])


def lost(count):
    tree = made(scale=1.05, draws=1000)
    joint = tree["sample_stats"]["log_joint"].values.copy()
    joint[0, :count] = np.nan
    return with_stats(tree, log_joint=(DIMS, joint))


def accepted(share):
    tree = made(drift=True)
    tree["drift"]["acceptance_rate"][:] = share
    return tree


def replicated(observed, draws):
    return grow(
        xr.DataTree(),
        posterior=xr.Dataset({"a": (DIMS, normals(1, len(draws)))}),
        observed_data=xr.Dataset({"y": ("n", observed)}),
        posterior_predictive=xr.Dataset({"y": ((*DIMS, "n"), draws[None])}),
    )


def declared(share):
    """A statistic of its own, whose replications are above the data's in that share."""
    tree = made(draws=100)
    above = 2.0 * (np.arange(1000) < 1000 * share) - 1.0
    group = xr.Dataset(
        {
            "data": (("statistic", "replication"), np.zeros((1, 1000))),
            "replicated": (("statistic", "replication"), above[None]),
            "smaller": ("statistic", ["Too small: do this."]),
            "larger": ("statistic", ["Too large: do that."]),
        },
        coords={"statistic": ["tilt"]},
    )
    return grow(tree, discrepancies=group)


def ruled_out():
    tree = made()
    broken = tree["log_likelihood"].to_dataset().copy(deep=True)
    broken["y"][0, 7, 3] = -np.inf
    return grow(tree, log_likelihood=broken)


def bending():
    """A tenth of the observations have a parameter of their own each."""
    theta, ordinary = normals(1, 2000, 20) * 0.1, 0.1 * normals(1, 2000, 180)
    pointwise = np.concatenate([-0.5 * (theta / 0.1) ** 2, ordinary], -1)
    return grow(
        xr.DataTree(),
        posterior=xr.Dataset({"theta": ((*DIMS, "n"), theta)}),
        log_likelihood=xr.Dataset({"y": ((*DIMS, "n"), pointwise)}),
    )


LEVEL = np.zeros(100)
COUNTS = np.random.default_rng(0).poisson(3.0, size=(1000, 200))

# check, quantity: the tree, and what is said of it
SEEN = [
    ("conditioned", "sites", "one", made, "ok", "judged"),
    ("conditioned", "sites", "none", lambda: made(observed=False), "warn", "judged"),
    ("convergence", "status", "converged", lambda: made(draws=50), "ok", "judged"),
    (
        "convergence",
        "status",
        "stopped",
        lambda: made(draws=50, status="stopped"),
        "warn",
        "judged",
    ),
    ("convergence", "status", "lost", lambda: made(draws=50, status="diverged"), "fail", "judged"),
    ("convergence", "loss", "level", lambda: with_loss(*LEVEL), "ok", "judged"),
    ("convergence", "loss", "falls", lambda: with_loss(*-np.arange(100.0)), "warn", "judged"),
    ("convergence", "loss", "infinite", lambda: with_loss(*LEVEL, np.inf), "fail", "judged"),
    ("convergence", "optimum", "firm", lambda: with_optimum(0.09), "ok", "judged"),
    ("convergence", "optimum", "loose", lambda: with_optimum(0.11), "warn", "judged"),
    ("convergence", "a", "mixed", lambda: sampled(normals(4, 1000)), "ok", "judged"),
    ("convergence", "a", "short", lambda: sampled(normals(4, 80)), "warn", "judged"),
    (
        "convergence",
        "a",
        "apart",
        lambda: sampled(normals(4, 1000) + np.arange(4)[:, None]),
        "fail",
        "judged",
    ),
    ("convergence", "divergences", "one", lambda: sampled(normals(4, 1000), 1), "warn", "judged"),
    ("restarts", "best optimum", "two", lambda: with_elbos(-1.0, -1.4), "ok", "judged"),
    ("restarts", "best optimum", "near", lambda: with_elbos(-1.0, -1.6), "warn", "judged"),
    (
        "restarts",
        "best optimum",
        "near for its noise",  # 0.5 and 4 errors of a difference: 6.18
        lambda: with_elbos(-1.0, -7.1, noise=10.0),
        "ok",
        "judged",
    ),
    (
        "restarts",
        "best optimum",
        "far for its noise",
        lambda: with_elbos(-1.0, -7.3, noise=10.0),
        "warn",
        "judged",
    ),
    ("restarts", "best optimum", "none", lambda: with_elbos(np.nan, np.nan), "fail", "judged"),
    ("restarts", "alpha", "agree", lambda: made(chains=2), "ok", "judged"),
    ("restarts", "alpha", "points", lambda: pointed(1, chains=2), "fail", "judged"),
    (
        "restarts",
        "alpha",
        "equal points",
        lambda: grow(
            (tree := pointed(20)),
            posterior=xr.concat([tree["posterior"].to_dataset().drop_vars("chain")] * 2, "chain"),
        ),
        "warn",
        "cannot tell",
    ),
    ("modes", "modes held", "all", lambda: with_modes([9, 9]), "ok", "judged"),
    (
        "modes",
        "modes held",
        "far",
        lambda: with_modes([9, 9], evidence=[0, -7.6], held=[True, False]),
        "warn",
        "judged",
    ),
    ("modes", "modes held", "one of two", half_of_two, "fail", "judged"),
    ("modes", "modes held", "of a part", lambda: half_of_two(placed=False), "fail", "judged"),
    ("modes", "modes met", "often", lambda: with_modes([9, 9]), "ok", "judged"),
    ("modes", "modes met", "once", lambda: with_modes([9, 1]), "warn", "judged"),
    ("modes", "modes met", "others once", many_modes_once, "warn", "judged"),
    ("modes", "modes met", "weightless once", weightless_modes_once, "ok", "judged"),
    ("modes", "rare modes", "none", lambda: with_modes([9, 9]), "ok", "judged"),
    ("modes", "rare modes", "far", lambda: with_modes([9, 9], evidence=[0, -7]), "warn", "judged"),
    ("psis", "joint", "right", made, "ok", "judged"),
    ("psis", "joint", "far", lambda: made(shift=6.0), "fail", "judged"),
    ("psis", "alpha", "far", lambda: made(shift=6.0), "warn", "cannot tell"),
    ("psis", "alpha", "uneven", lambda: made(shift=0.2, draws=200), "warn", "cannot tell"),
    ("psis", "alpha", "wide", lambda: made(scale=1.4, draws=4000), "warn", "judged"),
    ("psis", "alpha", "wider", lambda: made(scale=2.5, draws=4000), "fail", "judged"),
    ("psis", "joint of restart 1", "wild", trees.one_bad_restart, "fail", "judged"),
    ("psis", "joint", "all there", lambda: lost(0), "ok", "judged"),
    ("psis", "joint", "some lost", lambda: lost(40), "warn", "judged"),
    ("psis", "joint", "many lost", lambda: lost(60), "fail", "judged"),
    ("psis", "joint", "all lost", lambda: lost(1000), "fail", "judged"),
    ("psis", "joint", "one point", lambda: pointed(1), "fail", "judged"),
    ("psis", "joint", "few points", lambda: pointed(5, kind=INDEPENDENT), "fail", "judged"),
    ("psis", "joint", "many points", lambda: pointed(300), "fail", "judged"),
    ("psis", "joint", "weighed", lambda: with_stats(made(), {DRAWS: POINTS}), "fail", "judged"),
    ("drift", "joint", "free", lambda: accepted(0.61), "ok", "judged"),
    ("drift", "joint", "slow", lambda: accepted(0.59), "warn", "judged"),
    ("drift", "joint", "stuck", lambda: accepted(0.29), "fail", "judged"),
    ("drift", "joint", "far", lambda: made(drift=True, shift=2.0), "fail", "judged"),
    ("drift", "alpha", "right", lambda: made(drift=True), "ok", "judged"),
    ("drift", "alpha", "off", lambda: made(drift=True, shift=0.4), "warn", "judged"),
    ("drift", "alpha", "far", lambda: made(drift=True, shift=2.0), "fail", "judged"),
    ("drift", "alpha", "kept", lambda: made(drift=True, kept=1.0), "warn", "cannot tell"),
    (
        "drift",
        "alpha",
        "points",
        lambda: with_stats(made(drift=True), {DRAWS: POINTS}),
        "warn",
        "cannot tell",
    ),
    ("elbo", "elbo", "precise", made, "ok", "judged"),
    ("elbo", "elbo", "noisy", lambda: made(shift=10.0, draws=50), "warn", "judged"),
    ("elbo", "elbo", "not finite", lambda: lost(1), "fail", "judged"),
    ("predictive", "mean(y)", "off", lambda: made(shift=6.0), "warn", "judged"),
    (
        "predictive",
        "sd(y)",
        "narrow",
        lambda: replicated(3 * normals(50), normals(500, 50)),
        "warn",
        "judged",
    ),
    (
        "predictive",
        "min(y)",
        "low",
        lambda: replicated(np.append(normals(49), -9.0), normals(500, 50)),
        "warn",
        "judged",
    ),
    ("predictive", "max(y)", "high", lambda: made(misfit=6.0), "warn", "judged"),
    (
        "predictive",
        "zeros(y)",
        "many",
        lambda: replicated(COUNTS[0] * (np.arange(200) % 3 > 0), COUNTS),
        "warn",
        "judged",
    ),
    ("predictive", "PIT(y)", "uneven", lambda: made(misfit=6.0), "warn", "judged"),
    ("predictive", "tilt", "inside", lambda: declared(0.006), "ok", "judged"),
    ("predictive", "tilt", "beyond", lambda: declared(0.004), "warn", "judged"),
    ("loo", "elpd(y)", "right", made, "ok", "judged"),
    ("loo", "elpd(y)", "far", lambda: made(shift=6.0), "warn", "judged"),
    ("loo", "elpd(y)", "ruled out", ruled_out, "warn", "judged"),
    ("loo", "elpd(y)", "bends", bending, "warn", "judged"),
]


@pytest.mark.parametrize(
    ("check", "quantity", "make", "status", "kind"),
    [(check, quantity, *rest) for check, quantity, _, *rest in SEEN],
    ids=[f"{check}: {quantity} {case}" for check, quantity, case, *_ in SEEN],
)
def test_each_kind_of_row_is_seen(check, quantity, make, status, kind):
    row = CHECKS[check](make()).sel(quantity=quantity)
    assert (row["status"].item(), row["kind"].item()) == (status, kind)
    assert bool(row["action"].item()) == (status != "ok")
    value, low, high = (float(row[name]) for name in ("value", "low", "high"))
    if kind == "judged" and not np.isnan([value, low, high]).any():
        assert (low <= value <= high) == (status == "ok")


def test_every_check_has_rows_of_each_status_that_it_can_give():
    seen = {(check, status) for check, _, _, _, status, _ in SEEN}
    mild = {"conditioned", "predictive", "loo"}
    worst = {name: "warn" if name in mild else "fail" for name in CHECKS}
    asked = {(c, s) for c, w in worst.items() for s in SEVERITY if SEVERITY[s] <= SEVERITY[w]}
    assert seen == asked
