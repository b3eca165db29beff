"""CAVI beside scikit-learn's `BayesianGaussianMixture`: the same bound, and how long it takes.

    OMP_NUM_THREADS=1 python benchmarks/cavi.py            both tables, about two minutes
    OMP_NUM_THREADS=1 python benchmarks/cavi.py --quick    up to 1e5 observations

Both sides have the prior of ``gaussian_mixture:conjugate``, the same responsibilities to start at
and one thread. scikit-learn's lower bound leaves out the normalisers of the prior and of the data;
they are added. The first table fits irises and wines from k-means, to a rise of 1e-9 nats; the
held-out density is a mean over splits by the observation's number modulo five, in nats an
observation, of the mixture at the expected parameters (*plug-in*, both sides) and of the mixture
of Student's t that integrates them out (pyrovi).

The second table takes twenty sweeps on either side and ends with the responsibilities in full.
*engine* is CAVI alone, from the data as they come: centring, the start, the sweeps. *fit* is
`pyrovi.fit` as a user calls it, which also reads the model: once, some milliseconds however few
the data. A ratio is the median over paired runs, which take turns.
"""

import argparse
import math
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import stats
from scipy.special import gammaln, logsumexp
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import BayesianGaussianMixture

import pyrovi as vi
from pyrovi.approximations.coordinates import Sweeper
from pyrovi.bound import bind, bind_model
from pyrovi.density import LogDensity
from pyrovi.models import gaussian_mixture as mixture

SWEEPS = 20
COMPONENTS = 5
FOLDS = 5


class Started(BayesianGaussianMixture):
    """scikit-learn's, from given responsibilities."""

    responsibilities: np.ndarray

    def _initialize_parameters(self, X: Any, *_: Any, **__: Any) -> None:
        self._initialize(X, self.responsibilities)


def peer_of(r: np.ndarray, D: int, **settings: Any) -> Started:
    """scikit-learn's mixture with the prior of ``conjugate`` at a spread of one."""
    peer = Started(
        n_components=r.shape[1],
        weight_concentration_prior_type="dirichlet_distribution",
        weight_concentration_prior=2.0,
        mean_prior=np.zeros(D),
        mean_precision_prior=0.1,
        degrees_of_freedom_prior=D + 3.0,
        covariance_prior=0.2 * np.eye(D),
        reg_covar=0.0,
        **settings,
    )
    peer.responsibilities = r
    return peer


def dropped(n: int, D: int, K: int) -> float:
    """What scikit-learn's lower bound leaves out of the ELBO, in nats."""
    nu0 = D + 3.0
    log_b0 = 0.5 * nu0 * D * math.log(0.2 / 2) - gammaln((nu0 - np.arange(D)) / 2).sum()
    weights = gammaln(2.0 * K) - K * gammaln(2.0)
    return weights + K * (log_b0 + 0.5 * D * math.log(0.1)) - 0.5 * n * D * math.log(2 * math.pi)


def cavi(y: np.ndarray, r: np.ndarray, **settings: Any) -> tuple[float, dict[str, Any]]:
    """The ELBO and the factors, by `pyrovi.fit`."""
    engine = vi.CAVI(start=mixture.start_from(y, r), **settings)
    fit = vi.fit(mixture.conjugate, {"y": y, "components": r.shape[1]}, engine, seed=0)
    return -fit.loss[-1], fit.approximations()[0].factors  # type: ignore[attr-defined]


def plug_in(peer: Started, y: np.ndarray) -> float:
    """The mean log density of ``y`` at scikit-learn's expected parameters."""
    each = [
        np.log(w) + stats.multivariate_normal(m, c).logpdf(y)
        for w, m, c in zip(peer.weights_, peer.means_, peer.covariances_, strict=True)
    ]
    return float(logsumexp(each, axis=0).mean())


# Irises and wines


def real_data(name: str) -> None:
    """One data set's two columns."""
    tree = mixture.GAUSSIAN_MIXTURE.load(name)
    y = tree["observed_data"]["y"].to_numpy()
    kind = next(iter(tree["truth"].data_vars.values())).to_numpy()
    n, D = y.shape
    settings = {"tol": 1e-9, "max_iter": 5000}

    def both(part: np.ndarray) -> tuple[Started, float, dict[str, Any]]:
        r = np.eye(3)[KMeans(3, n_init=1, random_state=0).fit_predict(part)]
        peer = peer_of(r, D, **settings).fit(part)
        return peer, *cavi(part, r, tolerance=1e-9)

    peer, elbo, factors = both(y)
    theirs = peer.lower_bound_ + dropped(n, D, 3)
    assigned = mixture.responsibilities(factors, y).argmax(1).numpy()
    fold = np.arange(n) % FOLDS
    scores = []
    for each in range(FOLDS):
        held, kept = y[fold == each], y[fold != each]
        other, _, found = both(kept)
        own = [mixture.log_predictive(found, held, plug_in=p).mean() for p in (True, False)]
        scores.append([plug_in(other, held), *map(float, own)])
    sk, ours, student = np.mean(scores, axis=0)
    print(f"{name} (n={n}, D={D}, K=3)")
    print(f"  bound, nats            scikit-learn {theirs:.8f}   pyrovi {elbo:.8f}")
    print(f"  difference             {elbo - theirs:+.1e} ({abs(elbo / theirs - 1):.1e} relative)")
    print(f"  constants dropped      {dropped(n, D, 3):.4f} nats of {theirs:.2f}")
    print(
        f"  adjusted Rand index    scikit-learn {adjusted_rand_score(kind, peer.predict(y)):.3f}"
        f"   pyrovi {adjusted_rand_score(kind, assigned):.3f}"
    )
    print(
        f"  held-out log density   scikit-learn {sk:.4f}   pyrovi {ours:.4f} plug-in, "
        f"{student:.4f} Student's t"
    )
    begun = np.eye(3)[KMeans(3, n_init=1, random_state=0).fit_predict(y)]
    ratio, seconds = paired(
        lambda: peer_of(begun, D, **settings).fit(y), lambda: cavi(y, begun, tolerance=1e-9), 9
    )
    engine_ratio, engine_seconds = paired(
        lambda: peer_of(begun, D, **settings).fit(y),
        lambda: engine_alone(y, begun, peer.n_iter_),
        9,
    )
    print(
        f"  {peer.n_iter_} sweeps, ms          scikit-learn {1e3 * seconds[0]:.1f}   pyrovi's "
        f"engine {1e3 * engine_seconds[1]:.1f} ({engine_ratio:.1f} x faster), pyrovi.fit "
        f"{1e3 * seconds[1]:.1f} ({ratio:.1f} x)"
    )


# Time


def engine_alone(y: np.ndarray, r: np.ndarray, sweeps: int = SWEEPS) -> np.ndarray:
    """Centre, start, sweep, and give the responsibilities in full."""
    tensor = torch.as_tensor(y)
    updates = mixture.CONJUGATE_UPDATES
    problem = updates.prepare(y=tensor, components=r.shape[1])
    start = mixture.start_from(y, r)
    sweeper = Sweeper(CLOCK, updates, problem, start, {})
    engine = vi.CAVI()
    state = engine.begin(sweeper)
    for _ in range(sweeps):
        engine.step(state)
    return sweeper.conditional("assignment").responsibilities().numpy()  # type: ignore[attr-defined]


def paired(
    theirs: Callable[[], Any], ours: Callable[[], Any], pairs: int
) -> tuple[float, tuple[float, float]]:
    """The median ratio of their time to ours, and the median seconds of each."""
    theirs(), ours()
    times = np.array([(_seconds(theirs), _seconds(ours)) for _ in range(pairs)])
    median = np.median(times, axis=0)
    return float(np.median(times[:, 0] / times[:, 1])), (float(median[0]), float(median[1]))


def _seconds(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def drawn(n: int, D: int) -> tuple[np.ndarray, np.ndarray]:
    """Data from five components, and responsibilities at random."""
    rng = np.random.default_rng(n + D)
    loc = rng.normal(0, 3, (COMPONENTS, D))
    turn = rng.normal(0, 1, (COMPONENTS, D, D)) / math.sqrt(D)
    kind = rng.integers(COMPONENTS, size=n)
    y = loc[kind] + (turn[kind] @ rng.normal(size=(n, D, 1)))[..., 0]
    return y, rng.dirichlet(np.ones(COMPONENTS), size=n)


def clock() -> LogDensity:
    """A density whose clock and name an engine reads, and nothing else."""
    data = {"y": np.zeros((2, 1)), "components": 2}
    return LogDensity(bind_model(mixture.conjugate, bind(mixture.conjugate, data)))


CLOCK = clock()


def race(n: int, D: int) -> None:
    """One row."""
    y, r = drawn(n, D)
    pairs = 9 if n <= 10_000 else 5 if n <= 100_000 else 3
    peer = lambda: peer_of(r, D, tol=0.0, max_iter=SWEEPS).fit(y)  # noqa: E731
    ratio, (theirs, ours) = paired(peer, lambda: engine_alone(y, r), pairs)
    row = f"{n:>9,} {D:>3} {1e3 * theirs:>14.1f} {1e3 * ours:>9.1f} {ratio:>7.1f}"
    whole, (_, seconds) = paired(peer, lambda: cavi(y, r, max_steps=SWEEPS), pairs)
    row += f" {1e3 * seconds:>9.1f} {whole:>7.1f}"
    print(row, flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="up to 1e5 observations")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    for name in ("iris", "wine"):
        real_data(name)
    print(f"\n{SWEEPS} sweeps, K = {COMPONENTS}, ms")
    heads = f"{'engine':>9} {'ratio':>7} {'fit':>9} {'ratio':>7}"
    print(f"{'n':>9} {'D':>3} {'scikit-learn':>14} {heads}")
    for n in (1000, 10_000, 100_000) if quick else (1000, 10_000, 100_000, 1_000_000):
        for D in (2, 8):
            race(n, D)


if __name__ == "__main__":
    main()
