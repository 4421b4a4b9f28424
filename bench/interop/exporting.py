"""Write encoders in the authors' layouts (docs/reference.md#checkpoint-layouts)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import JsonValue
from torch import Tensor

from bench.errors import UsageError
from bench.interop.checkpoints import OURS
from bench.interop.naming import release_state
from bench.interop.releases import RELEASES, Release
from bench.spec import BackboneSpec, PretrainSpec

FileLayout = Literal["pretrain", "finetune"]
_KINDS = {"pretrain": "pretraining", "finetune": "fine-tuning"}


def export_release(method: str, layout: FileLayout) -> Release:
    """Return the released file layout for a method's encoder.

    Raises:
        UsageError: The method's authors released no such file.
    """
    own = [release for release in RELEASES if release.method == method]
    fitting = [release for release in own if release.kind == _KINDS[layout]]
    if fitting:
        return fitting[0]
    if own:
        other = next(name for name, kind in _KINDS.items() if any(release.kind == kind for release in own))
        raise UsageError(f"no {layout} layout of {method} was ever released; use --layout {other}")
    known = ", ".join(dict.fromkeys(release.method for release in RELEASES))
    raise UsageError(
        f"the authors of {method} released no files, so there is no layout to write; known: {known} "
        "(bench import reads our own encoder.safetensors too)"
    )


def released_content(
    state: Mapping[str, Tensor], release: Release, spec: PretrainSpec, texts: list[str] | None
) -> dict[str, Any]:
    """Return the content of a released file, for `torch.save`.

    Tensors under the release's names, and the specification and texts.

    Args:
        state: State dict of the encoder.
        release: Kind of file to write.
        spec: The encoder's specification.
        texts: Sentences that its training read; None: unknown.

    Raises:
        UsageError: The encoder has tensors without a released name (an option of ours added them), or another part of
            the backbone than the release.
    """
    for part in ("block", "norm", "tokenizer"):  # their tensors may have released names all the same
        if (chosen := getattr(spec.backbone, part)) != getattr(BackboneSpec(), part):
            raise UsageError(
                f"the release of {release.method} has no {part} '{chosen}', which this encoder was built with; "
                "share its encoder.safetensors instead"
            )
    named = release_state({release.inside + name: value for name, value in state.items()}, release.names())
    back = {release.names().to_ours(name) for name in named}
    lost = [name for name in state if release.inside + name not in back]
    if lost:
        raise UsageError(
            f"the release of {release.method} has no name for {lost[0]} ({len(lost)} tensors), which an option of this "
            "encoder brought in; share its encoder.safetensors instead"
        )
    ours: dict[str, JsonValue] = {"spec": spec.model_dump(mode="json"), "texts": None if texts is None else list(texts)}
    tensors = {name: value.detach().clone().contiguous() for name, value in named.items()}
    if release.bare:
        return tensors
    trained = {"epoch": spec.recipe.epochs} if spec.recipe is not None else {}
    return {"base_model": tensors, **trained, OURS: ours}
