"""A fit on disk: the same draws from another process, and nothing that could be code."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from pyro.infer.autoguide import init_to_mean
from safetensors import safe_open

import pyrovi as vi
from bound.test_any_model import Y as OTHER, normal, own_guide
from infer.conjugate import Conjugate, model
from pyrovi.errors import DataError, FitError, OutputError, TreeError

EXACT = Conjugate()
ENGINES = {
    "DADVI": vi.DADVI(),
    "whitened": vi.DADVI(whiten=True),
    "Laplace": vi.Laplace(),
    "NUTS": vi.NUTS(draws=20, warmup=20),
    "full rank": vi.SVI(guide="full_rank", max_steps=60),
    "own start": vi.SVI(
        guide=vi.guides.full_rank.with_options(init_loc_fn=init_to_mean), max_steps=30
    ),
    "flow": vi.SVI(guide=vi.guides.maf.with_options(transforms=2), max_steps=30),
}

READ = """
import sys, torch, pyrovi as vi
from infer.conjugate import Conjugate, model
fit = vi.Fit.open(sys.argv[1], model, Conjugate().data)
torch.save([each.flat for each in fit.draw(15)], sys.argv[2])
print(fit.status, fit.engine, fit.seed)
"""


@pytest.mark.parametrize("name", ENGINES)
def test_a_saved_fit_draws_the_same_in_another_process(name: str, tmp_path: Path) -> None:
    fit = vi.fit(model, EXACT.data, ENGINES[name], seed=4, restarts=2)
    fit.save(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path), str(tmp_path / "drawn.pt")],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == f"{fit.status} {fit.engine} {fit.seed}"
    expected = [each.flat for each in fit.draw(15)]
    found = torch.load(tmp_path / "drawn.pt", weights_only=True)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return vi.fit(model, EXACT.data, vi.Laplace(), seed=0).save(tmp_path)


def test_the_files_are_tensors_and_json(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == ["fit.json", "fit.safetensors"]
    assert json.loads((saved / "fit.json").read_text())["engine"] == "Laplace()"
    with safe_open(saved / "fit.safetensors", "pt") as file:
        assert "0/approximation/loc" in file.keys()  # noqa: SIM118  not a dict


def test_other_data_are_refused(saved: Path) -> None:
    with pytest.raises(DataError, match="not those that the fit"):
        vi.Fit.open(saved, model, {**EXACT.data, "y": EXACT.y + 1})


def test_another_model_is_refused(saved: Path) -> None:
    def wider(x: torch.Tensor, y: torch.Tensor) -> None:
        import pyro
        import pyro.distributions as dist

        pyro.sample("extra", dist.Normal(0.0, 1.0))
        model(x, y)

    with pytest.raises(TreeError, match="does not go with this model"):
        vi.Fit.open(saved, wider, EXACT.data)


def test_an_approximation_of_a_package_that_is_not_loaded_is_not_the_models_fault(
    saved: Path,
) -> None:
    settings = saved / "fit.json"
    settings.write_text(settings.read_text().replace('"kind": "gaussian"', '"kind": "theirs"'))
    with pytest.raises(TreeError, match=r"^No approximation of kind 'theirs' is loaded"):
        vi.Fit.open(saved, model, EXACT.data)


@pytest.mark.parametrize("harm", ["absent", "truncated", "flipped", "not json"])
def test_a_damaged_fit_is_refused(saved: Path, harm: str) -> None:
    tensors, settings = saved / "fit.safetensors", saved / "fit.json"
    content = tensors.read_bytes()
    if harm == "absent":
        tensors.unlink()
    elif harm == "truncated":
        tensors.write_bytes(content[: len(content) // 2])
    elif harm == "flipped":
        tensors.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    else:
        settings.write_text("{")
    with pytest.raises(TreeError) as caught:
        vi.Fit.open(saved, model, EXACT.data)
    assert "\n" not in str(caught.value)


def test_a_guide_that_is_a_function_cannot_be_kept_and_says_what_to_keep(tmp_path: Path) -> None:
    fit = vi.fit(normal, {"y": OTHER}, vi.SVI(guide=own_guide, max_steps=20), seed=0)
    with pytest.raises(FitError, match=r"pyrovi\.save"):
        fit.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    fit = vi.fit(model, EXACT.data, vi.Laplace(), seed=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Cannot write"):
        fit.save(tmp_path / "file" / "nowhere")


def test_missing_folders_are_made_and_gone_again_where_a_file_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = vi.fit(model, EXACT.data, vi.Laplace(), seed=0)
    assert vi.Fit.open(fit.save(tmp_path / "a" / "b" / "c"), model, EXACT.data).seed == 0
    (tmp_path / "d").mkdir()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        fit.save(tmp_path / "d" / "e" / "f")
    assert list((tmp_path / "d").iterdir()) == []


def test_a_fit_that_cannot_be_saved_whole_leaves_the_one_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (vi.fit(model, EXACT.data, vi.Laplace(), seed=seed) for seed in (0, 1))
    first.save(tmp_path)
    synced = []

    def interrupted(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == 2:  # the first file is on the disk, the second is not
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        second.save(tmp_path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["fit.json", "fit.safetensors"]
    assert vi.Fit.open(tmp_path, model, EXACT.data).seed == 0


@pytest.mark.parametrize(
    "name",
    ["eight_schools", "eight_schools:centered", "quadratic_observation", "gravity_inversion"],
)
def test_what_is_drawn_and_judged_is_the_same_after_saving(name: str, tmp_path: Path) -> None:
    entry = vi.models.get(name)
    data = entry.load() if entry.datasets else entry.simulate(seed=1)
    fit = vi.fit(entry.model, data, seed=0)
    again = vi.Fit.open(fit.save(tmp_path), entry.model, data)
    judged, reread = fit.best.judgement, again.best.judgement
    assert judged is not None
    assert reread is not None
    without_chains = (asdict(replace(each, chains=None)) for each in (reread, judged))
    np.testing.assert_equal(*without_chains)
    one, other = (vi.draw(each, draws=500) for each in (fit, again))
    if judged.chains is not None:
        assert other["drift"].sizes["draw"] == len(judged.chains.start)
    for tree in (one, other):
        del tree["sample_stats"].attrs["created"]
    assert set(one.children) == set(other.children)
    for group in one.children:
        xr.testing.assert_identical(one[group].to_dataset(), other[group].to_dataset())
