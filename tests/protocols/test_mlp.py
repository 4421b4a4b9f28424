"""The MLP-3 probe: a head that is not the stated one, or an epoch chosen elsewhere, would make its column worthless."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from bench.errors import UsageError
from bench.protocols.mlp import Mlp
from bench.recipes.downstream import fair_recipe

from .conftest import MakeTask, cloud_set, subject, values

SHORT = Mlp.Options(recipe=fair_recipe("mlp").model_copy(update={"epochs": 12, "batch_size": 32, "warmup_epochs": 1}))


def test_it_learns_and_chooses_epoch_and_candidate_on_validation(make_task: MakeTask) -> None:
    task = make_task(cloud_set(30, 1, noise=0.05), cloud_set(12, 2, noise=0.05))
    result = Mlp.evaluate(subject("a", "b"), task, "all", SHORT)
    assert task.test.revealed == 1
    val = {m.variant: m.value for m in result.metrics if m.split == "val" and m.selection == "val"}
    chosen = str(result.notes["candidate"])
    assert chosen == max(val, key=lambda name: val[name])
    curve = [value for _, value in result.curves["mlp/val_accuracy"]]
    assert val[chosen] == max(curve) == curve[result.notes["epoch"] - 1]  # type: ignore[operator,index]
    (accuracy,) = values(result.metrics, name="accuracy", split="test", selection="val", headline=True)
    assert accuracy > 0.4
    predicted = result.predictions["logits"].argmax(1)
    assert float((predicted == result.predictions["labels"]).mean()) == accuracy
    np.testing.assert_array_equal(predicted, result.predictions["predicted"])


def test_the_scale_of_features_does_not_matter(make_task: MakeTask) -> None:
    """Else encoders with large outputs would be trained at another effective rate than those with small ones."""
    from bench.protocols.mlp.training import _standardised

    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(40, 5)), np.full((40, 1), 3.0)], 1).astype(np.float32)
    train = np.arange(30)
    np.testing.assert_allclose(_standardised(x, train), _standardised(x * 100 + 7, train), atol=1e-4)
    assert not _standardised(x, train)[:, 5].any(), "a constant feature says nothing"


def test_rerun_gives_identical_numbers(make_task: MakeTask) -> None:
    runs = [Mlp.evaluate(subject("a", "b"), make_task(cache=c), "all", SHORT) for c in ("c", "d")]
    assert runs[0].metrics == runs[1].metrics
    np.testing.assert_array_equal(runs[0].predictions["logits"], runs[1].predictions["logits"])
    other = Mlp.evaluate(subject("a", "b"), make_task(seed=1), "all", SHORT)
    assert other.curves != runs[0].curves, "the probe stream draws the head"


def test_wrong_settings_are_one_line(make_task: MakeTask) -> None:
    with pytest.raises(UsageError, match=r"unknown setting of mlp 'al': did you mean all\?"):
        Mlp.evaluate(subject(), make_task(), "al", SHORT)
    with pytest.raises(ValidationError, match="recipe may not be null"):
        Mlp.Options(recipe=None)
    with pytest.raises(ValidationError, match="published_epochs shortens the authors' recipe"):
        Mlp.Options(published_epochs=3)
