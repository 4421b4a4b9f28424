"""The releases' probe: the class token and BatchNorm move, the rest stays, and nothing is chosen on test."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from bench.errors import UsageError
from bench.models.grouping import Sampling
from bench.models.standard import StandardEncoder
from bench.protocols.base import Candidate, Protocol, Subject, Task
from bench.protocols.linear import Linear
from bench.protocols.mlp import Mlp
from bench.protocols.trained_classifier import Training, _Session
from bench.spec import BackboneSpec

from .conftest import MakeTask, subject, values

SIZE = BackboneSpec(points=24, groups=4, group_size=6, width=16, depth=2, heads=2, tokenizer_width=8, drop_path=0.0)


def transformer() -> StandardEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return StandardEncoder(SIZE, Sampling())


def recon_like(build: Callable[[], StandardEncoder] = transformer) -> Subject:
    return Subject("recon", "recon", {"": Candidate("", build, "transformer")})


def published(task: Task) -> Task:
    task.form = "published"
    return task


@pytest.mark.parametrize("protocol", [Linear, Mlp])
def test_rerun_gives_identical_numbers_and_labels_are_read_once(protocol: type[Protocol], make_task: MakeTask) -> None:
    options = protocol.defaults("smoke", "published")
    found = []
    for folder in ("one", "two"):
        task = published(make_task())
        task.workdir = task.workdir / folder
        found.append(protocol.evaluate(recon_like(), task, "all", options))
        assert task.test.revealed == 1
    assert found[0].metrics == found[1].metrics
    np.testing.assert_array_equal(found[0].predictions["logits"], found[1].predictions["logits"])
    rules = {m.selection for m in found[0].metrics if m.split == "test"}
    assert rules == {"val", "last", "test"}
    (val,) = values(found[0].metrics, name="accuracy", split="test", selection="val")
    (test,) = values(found[0].metrics, name="accuracy", split="test", selection="test")
    assert test >= val
    assert found[0].notes["published_recipe"] == "recon on scanobjectnn"
    assert found[0].notes["drop_path"] == 0.2


def test_class_token_and_batch_statistics_move_and_nothing_else(make_task: MakeTask) -> None:
    """What the papers call linear probing trains more than a linear layer, and less than everything."""
    task = published(make_task())
    options = Linear.defaults("smoke", "published")
    assert isinstance(options, Linear.Options)
    Linear.evaluate(recon_like(), task, "all", options)
    training = Training("linear", "linear", "transfer", False, _recipe(options), 0.2, True, 0.2, ledger=True)
    index = np.arange(4)
    before = _Session(task, training, index, index)._classifier(recon_like().candidates[""]).state_dict()
    from bench.training.checkpoint import deserialise

    (file,) = task.workdir.rglob("trained.safetensors")
    tensors, _ = deserialise(file.read_bytes())
    moved = {name for name, t in before.items() if not torch.equal(t, tensors[f"last/{name}"])}
    assert {"encoder.cls_token", "encoder.cls_pos", "head.0.weight", "head.0.bias"} <= moved
    rest = moved - {"encoder.cls_token", "encoder.cls_pos", "head.0.weight", "head.0.bias"}
    assert rest, "BatchNorm's statistics were meant to be updated"
    assert all(name.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked") for name in rest)


def _recipe(options: Linear.Options):  # type: ignore[no-untyped-def]
    from bench.recipes.downstream import released_training
    from bench.recipes.row import shortened

    return shortened(
        released_training("linear", "recon", ("scanobjectnn",), points=1024).recipe, options.published_epochs
    )


def test_forms_do_not_mix(make_task: MakeTask) -> None:
    """An option that would silently do nothing, or one form under the other's name, is refused."""
    with pytest.raises(UsageError, match="use --form published"):
        Linear.evaluate(subject(), make_task(), "all", Linear.defaults("smoke", "published"))
    with pytest.raises(UsageError, match="use --form fair"):
        Linear.evaluate(subject(), published(make_task()), "all", Linear.defaults("smoke"))
    with pytest.raises(ValidationError, match="strengths belongs to the fair form"):
        Linear.Options(form="published", strengths=(2.0,))
    with pytest.raises(ValidationError, match="recipe belongs to the published form"):
        Linear.Options(recipe=_recipe(Linear.Options(form="published")))
    with pytest.raises(UsageError, match="unknown setting of linear"):
        Linear.evaluate(subject(), published(make_task()), "x", Linear.defaults("smoke", "published"))
