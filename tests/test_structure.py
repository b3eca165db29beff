"""What a model declares is read wherever the model goes."""

import functools
import subprocess
import sys

from pyrovi.structure import Exchangeable, Structure, declare, structure_of

SWAP = Exchangeable("component", labels=("assignment",))


@declare(exchangeable=(SWAP,), dims={"weight": ("component",)})
def model(y: float, k: int) -> float:
    return y * k


def test_a_declaration_leaves_the_model_as_it_was() -> None:
    assert model(2.0, 3) == 6.0
    assert structure_of(model) == Structure((SWAP,), {"weight": ("component",)})


def test_a_declaration_is_read_through_partial_and_wraps() -> None:
    @functools.wraps(model)
    def wrapped(*args: float) -> float:
        return model(*args)  # type: ignore[arg-type]

    twice = functools.partial(functools.partial(model, 2.0), 3)
    assert structure_of(twice) == structure_of(wrapped) == structure_of(model)


def test_a_model_that_declares_nothing_has_an_empty_structure() -> None:
    assert structure_of(lambda: None) == Structure()


def test_structure_loads_neither_torch_nor_pyro() -> None:
    script = "import sys, pyrovi.structure; print({'torch', 'pyro'} & set(sys.modules))"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "set()", done.stderr
