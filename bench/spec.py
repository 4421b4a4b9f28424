"""Specifications: complete, validated, immutable descriptions of pretrainings and runs.

A spec holds everything *resolved* that can change a number, and nothing else: paths, worker counts, the
device index and the log level stay out. Its content key is the SHA-256 of its canonical JSON.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from bench.errors import unknown_name

SPEC_VERSION = 1

Precision = Literal["fp32", "bf16"]
Captions = Literal["none", "dataset", "class-names"]
Images = Literal["none", "dataset", "depth-of-points"]
Budget = Literal["steps", "epochs"]
Options = dict[str, JsonValue]


def _is_default(default: object) -> Callable[[object], bool]:
    """Return a test that excludes the default from JSON.

    Keys of earlier specs then stay what they were.
    """

    def same(value: object) -> bool:
        return value == default

    return same


LARGEST = 2**63 - 1
"""Largest number of a spec; the index holds no larger one."""
MOST = 1_000_000
"""Most epochs, objects of a batch and other counts that only take time."""
MOST_POINTS = 262_144
"""Most points of a cloud, and patches of it."""
WIDEST = 16_384
"""Widest layer; `bench.plan.machine` checks whether a backbone fits into memory."""
DEEPEST = 1_024
"""Most blocks."""
Seed = Annotated[int, Field(ge=0, le=LARGEST)]


@cache
def _holds_booleans(annotation: object) -> bool:
    """Whether values of a type may contain true or false."""
    inner = get_args(annotation)
    if get_origin(annotation) is Literal:
        return any(isinstance(choice, bool) for choice in inner)
    return annotation in (bool, object, Any, JsonValue) or any(map(_holds_booleans, inner))


class Frozen(BaseModel):
    """Immutable model that refuses unknown fields and invalid numbers.

    NaN, infinities, and true in place of 1 are invalid.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="wrap")
    @classmethod
    def _plain_number(cls, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        inner = value if isinstance(value, list | tuple) else (value,)
        if any(isinstance(item, bool) for item in inner):
            annotation: Any = cls.model_fields[str(info.field_name)].annotation
            if not _holds_booleans(annotation):
                raise ValueError("a number or a text belongs here, not true or false")
        elif any(isinstance(item, int) and abs(item) > LARGEST for item in inner):
            raise ValueError(f"numbers go up to {LARGEST} (64 bits)")
        found = handler(value)
        return found + 0.0 if type(found) is float else found  # -0.0 equals 0.0, so both must give one key


class BackboneSpec(Frozen):
    """Size and parts of the shared backbone (tokenizer and transformer).

    `tokenizer_width` is the first convolution of the patch embedding; the others are 2 and 4 times as wide
    (128 gives the published 128-256-512-512).
    """

    points: int = Field(1024, ge=1, le=MOST_POINTS)
    groups: int = Field(64, ge=1, le=MOST_POINTS)
    group_size: int = Field(32, ge=1, le=MOST_POINTS)
    width: int = Field(384, ge=1, le=WIDEST)
    depth: int = Field(12, ge=1, le=DEEPEST)
    heads: int = Field(6, ge=1, le=WIDEST)
    tokenizer_width: int = Field(128, ge=1, le=WIDEST)
    drop_path: float = Field(0.1, ge=0, lt=1)
    block: str = Field("attention", exclude_if=_is_default("attention"))
    """Block that encoder and decoder are stacks of, of ``bench list blocks``."""
    block_options: Options = Field({}, exclude_if=_is_default({}))
    """The block's own options, all of them once resolved."""
    norm: str = Field("layer", exclude_if=_is_default("layer"))
    """Norm layer in the blocks and behind them, of ``bench list norms``."""
    norm_options: Options = Field({}, exclude_if=_is_default({}))
    """The norm layer's own options, all of them once resolved."""
    tokenizer: str = Field("pointnet", exclude_if=_is_default("pointnet"))
    """Embedding of patches, of ``bench list tokenizers``."""
    tokenizer_options: Options = Field({}, exclude_if=_is_default({}))
    """The tokenizer's own options, all of them once resolved."""


AUGMENTATIONS = (
    "drop_to_first",
    "isotropic_scale",
    "jitter",
    "rotate_so3",
    "rotate_y",
    "scale_axes",
    "scale_half_to_double",
    "scale_translate",
    "shift_tenth",
    "translate_by_extent",
    "unit_sphere",
)
"""Names of what `bench.data.transforms` does to clouds, here so that a recipe with another one is no recipe."""


class Recipe(Frozen):
    """Hyperparameters of one stage of training."""

    epochs: int = Field(300, ge=1, le=MOST)
    batch_size: int = Field(128, ge=2, le=MOST)
    lr: float = Field(5e-4, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    warmup_epochs: int = Field(10, ge=0, le=MOST)
    warmup_lr: float = Field(1e-6, ge=0)
    min_lr: float = Field(1e-6, ge=0)
    optimiser: Literal["adamw", "adam"] = "adamw"
    """AdamW decays weights apart from the gradient, Adam through it (CrossPoint)."""
    clip_norm: float | None = Field(None, gt=0)
    augmentation: tuple[str, ...] = ()
    """Augmentations of the clouds in every step, from `AUGMENTATIONS`, in this order."""
    head_lr_scale: float = Field(1.0, gt=0)
    """Learning-rate factor of head and class-token parameters in fine-tuning (ReCon: 10)."""
    teacher_crops: int = Field(0, ge=0, le=1_000)
    """Augmented crops of each image whose teacher features are kept; a step draws one. 0 keeps the plain image."""
    teacher_prompts: int = Field(0, ge=0, le=1_000)
    """Prompt templates around each caption whose features are kept; a step draws one. 0 keeps the caption as it is."""
    reference_schedule: bool | Literal["late", "early"] = False
    """The released loops' off-by-one: epochs 0 and 1 at the warm-up rate, one epoch more than stated; with ``late`` as
    many as stated (segmentation); with ``early`` CrossPoint's, whose first epoch is at the schedule's second rate and
    whose last is at the minimum."""

    @field_validator("augmentation")
    @classmethod
    def _augmentations_exist(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in AUGMENTATIONS:
                raise ValueError(str(unknown_name("augmentation", name, AUGMENTATIONS)))
        return names


class DataSpec(Frozen):
    """Data set in a key: format, options and content digest."""

    name: str
    options: Options = {}
    manifest: str


class TeacherSpec(Frozen):
    """A teacher as it enters the key."""

    name: str
    options: Options = {}
    identity: str


JOB_THREADS: dict[str, int] = {"cpu": 1, "cuda": 4}
"""Threads of an operator on the CPU unless a run asks for others, by device; the same on every machine.

One on the CPU: small networks gain little from more, and jobs run side by side.
"""


class Numerics(Frozen):
    """Settings of the machine that change a number."""

    precision: Precision
    compile: bool
    device: Literal["cpu", "cuda"]
    op_backend: str
    torch: str
    """Major.minor of torch."""
    plugins: dict[str, str] = {}
    """Version of every third-party plugin in use, by ``kind.name``."""
    threads: int | None = Field(None, ge=1, le=1_024, exclude_if=_is_default(None))
    """Threads of an operator on the CPU where others than `JOB_THREADS` were asked for: sums round differently."""

    @property
    def job_threads(self) -> int:
        """Threads of an operator on the CPU."""
        return self.threads or JOB_THREADS[self.device]


class TransformerShape(Frozen):
    """Architecture of a pretrained token transformer, enough to rebuild it."""

    width: int = Field(ge=1, le=WIDEST)
    depth: int = Field(ge=1, le=DEEPEST)
    heads: int = Field(ge=1, le=WIDEST)
    mlp_width: int = Field(ge=1, le=4 * WIDEST)
    norm: Literal["pre", "post"] = "pre"
    activation: Literal["gelu", "gelu_tanh", "quick_gelu"] = "gelu"
    eps: float = Field(1e-6, gt=0)
    qkv_bias: bool = True
    final_norm: bool = True
    initial_norm: bool = False
    """Whether a norm stands before the first block (CLIP's image tower)."""


MOST_RANKS = 1_024
"""Most processes that train one network."""


class RanksSpec(Frozen):
    """Processes that train one network, each on its share of every batch."""

    count: int = Field(ge=2, le=MOST_RANKS)
    batch_norm: Literal["synchronised", "per-rank"] = "synchronised"
    """Whether BatchNorm's statistics are of the whole batch or of each rank's share."""
    negatives: Literal["gathered", "per-rank"] = "gathered"
    """Whether losses in which objects meet see the whole batch or each rank's share."""


class PretrainSpec(Frozen):
    """One encoder: pretrained, untrained (`scratch`) or imported weights."""

    version: int = SPEC_VERSION
    method: str
    options: Options = {}
    backbone: BackboneSpec
    recipe: Recipe | None
    data: DataSpec | None
    fraction: float = Field(1.0, gt=0, le=1, exclude_if=_is_default(1.0))
    """Part of the data's objects that is trained on (`bench.data.splits.nested_subset`)."""
    budget: Budget = Field("steps", exclude_if=_is_default("steps"))
    """Of a part of the data: whether `recipe` was brought to the optimiser steps of all of it, or kept its epochs."""
    at: float = Field(1.0, gt=0, le=1, exclude_if=_is_default(1.0))
    """Share of the pretraining's optimiser steps, those of its last stage, after which the encoder was kept."""
    images: Images = "none"
    captions: Captions = "none"
    teacher: TeacherSpec | None = None
    """Teacher of images and texts, or of images alone where `text_teacher` is given."""
    text_teacher: TeacherSpec | None = None
    live_teacher: bool = False
    """Whether the teacher runs in every step instead of once before training."""
    held_out: bool = Field(False, exclude_if=_is_default(False))
    """Whether the losses on objects that are not trained on are measured after each epoch; changes no weight."""
    first_stage: PretrainSpec | None = None
    """The encoder that the method's first stage trains."""
    imported: str | None = None
    """SHA-256 of weights that were trained elsewhere; then there is no recipe and no data."""
    texts: str | None = None
    """SHA-256 of the texts that imported weights are said to have read; the tables count class names in them."""
    ranks: RanksSpec | None = Field(None, exclude_if=_is_default(None))
    """Processes that train it together; None for one process."""
    numerics: Numerics
    seed: Seed

    @property
    def whole(self) -> PretrainSpec:
        """The same pretraining at its end, which is what is trained."""
        return self.after(1.0)

    def after(self, share: float) -> PretrainSpec:
        """Return the encoder that is kept after a share of the same pretraining."""
        return self if share == self.at else self.model_copy(update={"at": share})


Adapt = Literal["head", "bitfit", "prompt", "adapter", "lora", "full"]
"""Parameters of an encoder that fine-tuning trains, from least to most."""
FrozenDense = Literal["no", "linear", "decoder"]
"""What is trained above a frozen encoder that labels points; ``no``: the encoder, too."""
Rotation = Literal["none", "z/z", "z/SO3", "SO3/SO3"]
"""How training and test clouds are turned: about the vertical axis, or in any way."""


class ProtocolSpec(Frozen):
    """A protocol with its options resolved."""

    name: str
    revision: int
    """Version of what the protocol does; its author raises it with every change."""
    form: Literal["fair", "published"] = "fair"
    corruptions: str = Field("", exclude_if=_is_default(""))
    """Identity of the corrupted test clouds that are scored beside the clean ones; empty for none."""
    rotation: Rotation = Field("none", exclude_if=_is_default("none"))
    """How training and test clouds are turned."""
    legacy: bool = False
    """Whether the number that selection on the test split would give is stored too, in a column of its own."""
    options: Options = {}


class MatchSpec(Frozen):
    """Cost that an encoder's size was matched to.

    Methods compare at equal cost by it.
    """

    by: Literal["params", "flops"]
    target: int = Field(ge=1, le=LARGEST)
    """Parameters, or operations of one forward pass, of the first method's encoder."""


class TunedSpec(Frozen):
    """Result and effort of a search on validation (``bench tune``)."""

    study: str
    """Name of the search."""
    method: str
    """Method that was tuned; the values apply to no other."""
    trials: int = Field(ge=1, le=MOST)
    """Trials it chose from. Methods are compared where trials and space agree."""
    space: str
    """SHA-256 of the search space (`bench.tuning.spaces.SearchSpace.digest`)."""
    values: Options
    """Chosen values, as assignments of ``--set``."""


class RunSpec(Frozen):
    """One run: an encoder judged by a protocol on data."""

    version: int = SPEC_VERSION
    preset: str
    encoder: PretrainSpec
    protocol: ProtocolSpec
    setting: str
    data: DataSpec
    """Data set tested on; also trained on unless `train_data` is given."""
    train_data: DataSpec | None = Field(None, exclude_if=_is_default(None))
    """Another data set whose training split the protocol gets; classes are matched by name."""
    label_fraction: float = Field(1.0, gt=0, le=1, exclude_if=_is_default(1.0))
    """Part of the training split's labelled objects that the protocol gets."""
    matched: MatchSpec | None = Field(None, exclude_if=_is_default(None))
    """Cost the encoder's size was matched at."""
    trial: bool = Field(False, exclude_if=_is_default(False))
    """Whether it is a trial of a search: its validation score steers the search, its test score is in no table."""
    tuned: TunedSpec | None = Field(None, exclude_if=_is_default(None))
    """The search that chose some of its options."""
    plugins: dict[str, str] = {}
    """Version of the protocol and of the evaluated data set where they are third-party plugins."""
    split_seed: Seed = 0
    seed: Seed


def canonical_json(value: BaseModel | JsonValue) -> str:
    """Serialise with sorted keys, without white space.

    Equal content gives equal text.

    Raises:
        ValueError: The content holds NaN or an infinity, which JSON cannot express.
    """
    plain: Any = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_key(value: BaseModel | JsonValue) -> str:
    """Return the SHA-256 hex digest of the canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
