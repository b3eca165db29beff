"""Claims: what is outside is seen and marked, and one engine's fault is one row."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr

import pyrovi as vi
from pyrovi.approximations import Empirical, Gaussian
from pyrovi.errors import DataError, EngineError, TreeError
from pyrovi.infer import Capabilities, Outcome, engine_named
from pyrovi.models import ZOO, get
from pyrovi.structure import Exchangeable, declare
from pyrovi.studies import Reference, default_engines, reference_of
from pyrovi.studies.reference import SHELF, aligned, with_correlations

NOISE = torch.tensor([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
DATA = {"y": torch.tensor([1.0, -1.0, 2.0], dtype=torch.float64)}


def model(y: torch.Tensor) -> None:
    """One vector, seen once with noise that its first two entries share; a wide prior."""
    beta = pyro.sample("beta", dist.Normal(torch.zeros(3), 3.0).to_event(1))
    pyro.sample("y", dist.MultivariateNormal(beta, NOISE), obs=y)


PRECISION = torch.linalg.inv(NOISE) + torch.eye(3, dtype=torch.float64) / 9
COV = torch.linalg.inv(PRECISION)
MEAN = COV @ torch.linalg.solve(NOISE, DATA["y"])
SD = COV.diagonal().sqrt()
MARGINAL = NOISE + 9 * torch.eye(3, dtype=torch.float64)
LOG_EVIDENCE = float(
    torch.distributions.MultivariateNormal(torch.zeros(3).double(), MARGINAL).log_prob(DATA["y"])
)
NAMES = [f"beta[{i}]" for i in range(3)]
CLOSED_FORM = Reference(
    dict(zip(NAMES, MEAN.tolist(), strict=True)),
    dict(zip(NAMES, SD.tolist(), strict=True)),
    "the closed form",
)


@dataclass(frozen=True, kw_only=True)
class Shifted:
    """An engine that is wrong: the posterior, but a standard deviation too far in one entry."""

    max_steps: int = 1
    fault: str = ""
    capabilities: ClassVar[Capabilities] = Capabilities()

    def init(self, density: Any, start: Any, seed: int) -> Any:
        if self.fault:
            raise ZeroDivisionError(f"{self.fault}\nand more")
        return density

    def step(self, state: Any) -> float:
        return 0.0

    def converged(self, state: Any) -> bool:
        return True

    def outcome(self, state: Any) -> Outcome:
        return Outcome(approximation=self.approximation(state))

    def approximation(self, state: Any) -> Any:
        shift = torch.zeros_like(MEAN)
        shift[2] = SD[2]
        return Gaussian(state, MEAN + shift, torch.linalg.cholesky(COV))


class Point(Shifted):
    """An engine that gives the mean for every draw."""

    def approximation(self, state: Any) -> Empirical:
        return Empirical(state, MEAN.expand(10, -1))


class Wild(Shifted):
    """An engine whose draws overflow, half of them."""

    def approximation(self, state: Any) -> Gaussian:
        return Gaussian(state, torch.zeros(1).double(), torch.full((1, 1), 5000.0).double())


@pytest.fixture(scope="module")
def compared() -> Any:
    engines = {
        "mean field": "dadvi",
        "laplace": "laplace",
        "full rank": vi.DADVI(whiten=True),
        "shifted": Shifted(),
        "faulty": Shifted(fault="no such thing"),
    }
    return vi.compare(model, DATA, engines, CLOSED_FORM, seed=0)


def row(compared: Any, engine: str) -> Any:
    return compared.table.set_index("engine").loc[engine]


def test_mean_field_is_outside_in_the_correlated_entries_and_its_verdict_names_them(
    compared: Any,
) -> None:
    """Its sd is the precision's diagonal to the power -1/2: too small where it correlates."""
    ratio = PRECISION.diagonal() ** -0.5 / SD
    found = row(compared, "mean field")
    outside = [name for name, each in zip(NAMES, ratio.tolist(), strict=True) if each < 0.9]
    assert outside == ["beta[0]", "beta[1]"]
    marks = compared.quantities["mark"].sel(engine="mean field").to_pandas()
    assert list(marks.index[marks != "right"]) == outside
    assert found.outside == found.named == 2
    assert found.silent == found.unknown == 0
    assert found.ratio_low == pytest.approx(float(ratio.min()), rel=0.03)
    assert found.verdict in {"warn", "fail"}


@pytest.mark.parametrize("engine", ["laplace", "full rank"])
def test_full_rank_is_within_on_a_gaussian(compared: Any, engine: str) -> None:
    found = row(compared, engine)
    assert (found.judged, found.outside, found.problem) == (3, 0, "")
    assert found.error < 0.06
    assert engine in compared.right
    assert found.elbo == pytest.approx(LOG_EVIDENCE, abs=0.05)
    assert found.verdict == "ok"


def test_an_exact_gaussian_has_the_evidence_for_its_bound(compared: Any) -> None:
    found = row(compared, "laplace")
    assert found.elbo == pytest.approx(LOG_EVIDENCE, abs=1e-6)
    assert found.elbo_error < 1e-6
    assert found.khat < 0.1
    assert found.seconds > 0


def test_an_engine_that_is_a_standard_deviation_off_is_seen_and_named(compared: Any) -> None:
    found = row(compared, "shifted")
    assert found.error == pytest.approx(1, abs=0.05)
    error = compared.quantities["error"].sel(engine="shifted", quantity="beta[2]")
    assert float(error) == pytest.approx(1, abs=0.05)  # signed: too far up
    assert (found.outside, found.named, found.silent) == (1, 1, 0)
    assert "shifted" not in compared.right


def test_an_engine_that_fails_is_a_row_that_says_so_in_one_line(compared: Any) -> None:
    found = row(compared, "faulty")
    assert "test_compare.py" in found.problem  # where it was raised
    assert "ZeroDivisionError: no such thing" in found.problem
    assert "\n" not in found.problem
    assert f"faulty              -- {found.problem}" in str(compared)
    assert found.judged == 0
    assert "faulty" not in compared.right


def test_an_engine_that_cannot_take_the_model_is_a_row_that_says_so() -> None:
    def two_ways(y: torch.Tensor) -> None:
        sign = pyro.sample("sign", dist.Bernoulli(0.5))
        loc = pyro.sample("loc", dist.Normal(2 * sign - 1, 1.0))
        with pyro.plate("row", len(y)):
            pyro.sample("y", dist.Normal(loc, 1.0), obs=y)

    broken = replace(engine_named("svi:full_rank"), guide=lambda y: None)
    compared = vi.compare(
        two_ways, {"y": torch.ones(3)}, {"none": broken, "laplace": "laplace"}, seed=0
    )
    problem = row(compared, "none").problem
    assert "sign" in problem or "loc" in problem
    assert "\n" not in problem
    assert not problem.startswith(("GuideError", "EngineError"))  # a sentence, as pyrovi says it
    assert row(compared, "laplace").problem == ""


def test_where_the_verdict_finds_no_fault_what_is_outside_is_silent() -> None:
    """Seen by a reference that is wrong: nothing in the fit can know of it."""
    wrong = replace(CLOSED_FORM, mean={**CLOSED_FORM.mean, NAMES[1]: float(MEAN[1]) + 1.0})
    compared = vi.compare(model, DATA, ["laplace"], wrong, seed=0)
    assert compared.silent == ["laplace"]
    assert row(compared, "laplace").silent == 1
    assert "1 of 3: 1 SILENT" in str(compared)
    assert f"silent: laplace about {NAMES[1]}" in str(compared)
    assert "no engine" in str(compared)


def test_a_point_is_outside_in_every_quantity_and_not_left_out() -> None:
    compared = vi.compare(model, DATA, {"point": Point()}, CLOSED_FORM, seed=0, draws=100)
    found = row(compared, "point")
    assert found.error < 1e-9  # it is at the mean
    assert found.ratio_high < 1e-9
    assert found.outside == 3
    assert compared.right == []


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of infinity minus infinity
def test_draws_that_are_not_finite_are_outside_and_not_left_out() -> None:
    def positive(y: torch.Tensor) -> None:
        size = pyro.sample("size", dist.LogNormal(0.0, 1.0))
        pyro.sample("y", dist.Normal(size, 1.0), obs=y)

    known = Reference({"size": 1.0}, {"size": 1.0})
    engines = {"wild": Wild(), "laplace": "laplace"}
    compared = vi.compare(positive, {"y": torch.tensor(1.0)}, engines, known, seed=0, draws=500)
    assert row(compared, "wild").outside == 1
    assert not np.isfinite(row(compared, "wild").error)
    assert "wild" not in compared.right


def test_without_a_reference_the_highest_bound_is_the_one_to_be_held_against() -> None:
    compared = vi.compare(model, DATA, ["dadvi", "laplace"], seed=0)
    assert compared.reference == "laplace, the highest ELBO that passes"
    assert row(compared, "laplace").error == 0.0
    assert row(compared, "dadvi").outside == 2


def test_a_tree_is_a_reference_too() -> None:
    tree = vi.draw(vi.fit(model, DATA, "laplace", seed=1), draws=8000)
    compared = vi.compare(model, DATA, ["laplace"], tree, seed=0)
    assert compared.right == ["laplace"]
    assert row(compared, "laplace").judged == 3
    with pytest.raises(TreeError, match="posterior"):
        vi.compare(model, DATA, ["laplace"], xr.DataTree(), seed=0)


def test_a_seed_repeats_the_comparison() -> None:
    one, other = (vi.compare(model, DATA, ["dadvi"], CLOSED_FORM, seed=4) for _ in range(2))
    assert one.quantities.equals(other.quantities)
    assert one.table.drop(columns="seconds").equals(other.table.drop(columns="seconds"))


# ---------------------------------------------------------------- names that have no meaning


@declare(exchangeable=(Exchangeable("component"),), dims={"weight": ("component",)})
def mixture(y: torch.Tensor) -> None:
    """Two normals at places to be found, with shares to be found."""
    weight = pyro.sample("weight", dist.Dirichlet(torch.ones(2)))
    with pyro.plate("component", 2):
        loc = pyro.sample("loc", dist.Normal(0.0, 5.0))
    with pyro.plate("row", len(y)):
        pyro.sample(
            "y", dist.MixtureSameFamily(dist.Categorical(weight), dist.Normal(loc, 1.0)), obs=y
        )


def test_components_are_matched_to_those_of_the_reference() -> None:
    """Sixty at -6 and twenty at 6, so far apart that each is known by itself."""
    generator = torch.Generator().manual_seed(0)
    y = torch.cat([torch.full((60,), -6.0), torch.full((20,), 6.0)])
    y = y + torch.randn(80, generator=generator)
    many, few = 1, 0  # the fit has them the other way round
    mean = {f"loc[{many}]": float(y[:60].mean()), f"loc[{few}]": float(y[60:].mean())}
    mean |= {f"weight[{many}]": 61 / 82, f"weight[{few}]": 21 / 82}
    share = np.sqrt(61 * 21 / 82**2 / 83)
    sd = {f"loc[{many}]": 60**-0.5, f"loc[{few}]": 20**-0.5}
    sd |= {f"weight[{i}]": share for i in range(2)}
    reference = Reference(mean, sd, "the closed form")
    compared = vi.compare(mixture, {"y": y.double()}, ["laplace"], reference, seed=0, draws=1500)
    assert row(compared, "laplace").judged == 4
    assert compared.right == ["laplace"], str(compared)


def test_alignment_is_the_permutation_with_the_least_distance() -> None:
    values = np.array([3.0, 1.0, 2.0]) + np.zeros((1, 5, 3))
    posterior = xr.Dataset(
        {"loc": (("chain", "draw", "k"), values)}, coords={"k": ["a", "b", "c"]}
    )
    reference = Reference(
        {"loc[a]": 1.1, "loc[b]": 2.1, "loc[c]": 2.9},
        dict.fromkeys(["loc[a]", "loc[b]"], 0.1) | {"loc[c]": 0.1},
    )
    assert list(aligned(posterior, ["k"], reference)["k"]) == [1, 2, 0]
    assert aligned(posterior, ["other"], reference) == {}


def test_correlations_are_read_off_their_cholesky_factor() -> None:
    corr = np.array([[1.0, 0.5, -0.2], [0.5, 1.0, 0.3], [-0.2, 0.3, 1.0]])
    tril = np.broadcast_to(np.linalg.cholesky(corr), (1, 4, 2, 3, 3))
    names = ["a", "b", "c"]
    posterior = xr.Dataset(
        {"corr_chol": (("chain", "draw", "k", "row", "column"), tril)},
        coords={"row": names, "column": names},
    )
    found = with_correlations(posterior)["corr"]
    assert list(found.coords["corr_chol_pair"].to_numpy()) == ["b:a", "c:a", "c:b"]
    np.testing.assert_allclose(found[0, 0, 1], [0.5, -0.2, 0.3], atol=1e-12)


# ------------------------------------------------------------------------------- the names


def test_every_default_name_is_an_engine_and_a_wrong_one_is_told_what_there_is() -> None:
    assert default_engines()[0] == "auto"
    assert "svi:full_rank" in default_engines()
    assert all(engine_named(name) is not None for name in default_engines())
    assert engine_named("SVI:maf") == vi.SVI(guide="maf")
    for name, said in {
        "advi": "No engine 'advi'.*svi, dadvi",
        "svi:full": "There is no guide family 'full'.*full_rank",
        "dadvi:maf": "takes no guide.*svi:maf",
        "auto:maf": "takes no guide.*svi:maf",
    }.items():
        with pytest.raises(vi.PyroviError, match=said) as error:
            vi.compare(model, DATA, ["laplace", name], CLOSED_FORM)
        assert "\n" not in str(error.value)
    with pytest.raises(EngineError, match="No engine came"):
        vi.compare(model, DATA, [])


# ------------------------------------------------------------------------------- the shelf


def shelf() -> list[str]:
    return [name for name in ZOO.members if (SHELF / name / "reference.json").is_file()]


@pytest.mark.parametrize("name", shelf())
def test_each_reference_of_the_shelf_is_read_and_its_variants_are_the_entry_s(name: str) -> None:
    entry = get(name)
    kept = json.loads((SHELF / name / "reference.json").read_text())
    known = [v for v in kept["variants"] if reference_of(entry, v, kept["data"]) is not None]
    assert known == list(kept["variants"])
    for variant in known:
        found = reference_of(entry.variant(variant), data=kept["data"])
        assert found is not None
        assert found.mean.keys() == found.sd.keys()
        assert all(sd > 0 for sd in found.sd.values())


def test_other_data_or_another_model_have_no_reference() -> None:
    entry = get("eight_schools")
    found = reference_of(entry)
    assert found is not None
    assert found.about == "NUTS, 4 chains of 5000 draws"
    assert found.mean["mu"] == pytest.approx(4.386, abs=0.001)
    assert reference_of(entry, data="others") is None
    assert reference_of(get("gaussian_mixture"), data="wine") is None
    assert reference_of(get("gaussian_mixture:diagonal")) is None


def test_a_file_that_is_no_reference_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "reference.json"
    for text, said in {
        "{": "and .* is none",
        "[]": "and .* is none",
        '{"variants": {}}': "has no variant",
        '{"variants": {"a": {"quantities": {"x": {"mean": 1}}}}}': "and .* is none",
    }.items():
        path.write_text(text)
        with pytest.raises(DataError, match=said):
            Reference.open(path)
    path.write_text('{"variants": {"a": {"quantities": {"x": {"mean": 1, "sd": 2}}}}}')
    assert Reference.open(path).sd == {"x": 2.0}
    with pytest.raises(DataError, match=r"no variant 'b'\. It has: a"):
        Reference.open(path, "b")
    with pytest.raises(DataError, match="Cannot read"):
        Reference.open(tmp_path / "none.json")
