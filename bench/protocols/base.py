"""Contract of a protocol, which judges an encoder on data.

Importing this module (and the module of every protocol) is cheap: numpy and torch come in when something is
evaluated, so that listing, planning and ``--dry-run`` stay instant.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel, JsonValue, model_validator

from bench.errors import BenchError, DivergedError, UsageError
from bench.options import Configured, OptionsT
from bench.progress import Progress, silent
from bench.protocols.description import Description
from bench.spec import Frozen, Numerics, Recipe

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from bench.data.base import CloudSet, Dataset
    from bench.models.encoder import Encoder
    from bench.store.records import Metric
    from bench.teachers.base import Teacher

Form = Literal["fair", "published"]


@dataclass(frozen=True)
class Facts:
    """Facts that decide whether a protocol applies to an encoder.

    Attributes:
        method: Name of the method.
        aligned: Whether the encoder's heads project into a space it shares with texts.
        parts: Whether the evaluated data set labels parts of its objects.
        rooms: Whether the evaluated data set consists of rooms.
        objects: Whether it has labelled objects.
        captions: Whether it has a sentence for each object.
        pictures: Whether the space shared with texts holds pictures too.
        unaligned: Why there is no such space; empty where there is.
    """

    method: str
    aligned: bool = False
    parts: bool = False
    rooms: bool = False
    objects: bool = True
    captions: bool = False
    pictures: bool = False
    unaligned: str = ""


@dataclass(frozen=True)
class Candidate:
    """One set of weights that validation may choose.

    Attributes:
        name: Short name for tables, e.g. ``trained`` or ``trunc+bn``.
        build: Returns a fresh encoder with its weights, on the CPU, every time it is called.
        key: Identity of the weights; cached features carry it.
        inputs: What the encoder is given of a cloud: ``points``, and ``normals`` behind them if it asks for them.
        stored: Gives a feature of the ``train`` and the ``test`` objects where features are read instead of computed;
            None for an encoder that is run.
    """

    name: str
    build: Callable[[], Encoder]
    key: str
    inputs: tuple[str, ...] = ("points",)
    stored: Callable[[str], Mapping[str, npt.NDArray[np.float32]]] | None = None


@dataclass(frozen=True)
class AlignedHead:
    """Linear layer from an encoder's feature into a teacher's space.

    Attributes:
        feature: Name of the encoder's feature it reads.
        weight: float32 ``[D, F]``.
        bias: float32 ``[D]``.
    """

    feature: str
    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Alignment:
    """Heads from an encoder's features into a teacher's space.

    Attributes:
        heads: By modality, ``image`` and ``text``; those that were trained.
        teacher: Teacher of that space, for class prompts and pictures.
    """

    heads: Mapping[str, AlignedHead]
    teacher: Teacher


@dataclass(frozen=True)
class Subject:
    """The encoder or teacher that is judged.

    Attributes:
        method: Name of the method.
        architecture: Method whose architecture it has (differs from `method` for ``scratch``).
        candidates: One, or several where validation has to choose (initialisations of ``scratch``, calibrated
            BatchNorm). Their order breaks ties. None for a method that is its teacher alone.
        options: The method's options, for one that has no encoder to carry them.
    """

    method: str
    architecture: str
    candidates: Mapping[str, Candidate]
    options: Mapping[str, JsonValue] = field(default_factory=dict)

    def variant(self, name: str) -> str:
        """Return a candidate's name for `Metric.variant`; empty if alone."""
        return name if len(self.candidates) > 1 else ""


class HeldOut:
    """The test split; labels stay sealed until the final scoring.

    Its clouds are open.

    Class counts are open too: they describe the data set (which folds it can carry) and no single object.

    Attributes:
        revealed: Number of times the labels were read.
    """

    def __init__(self, clouds: CloudSet) -> None:
        self._clouds = clouds
        self.revealed = 0

    def __len__(self) -> int:
        return len(self._clouds)

    @property
    def points(self) -> npt.NDArray[np.float32]:
        """Clouds ``[m, N, 3]``."""
        return self._clouds.points

    @property
    def normals(self) -> npt.NDArray[np.float32] | None:
        """Normals ``[m, N, 3]``, or None."""
        return self._clouds.normals

    @property
    def ids(self) -> tuple[str, ...]:
        """One stable name per object."""
        return self._clouds.ids

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, index = label."""
        return self._clouds.classes

    @property
    def captions(self) -> tuple[str, ...] | None:
        """One sentence per object, or None; only retrieval uses them."""
        return self._clouds.captions

    def unlabelled(self) -> CloudSet:
        """Return the split with images and captions but without labels."""
        import numpy as np

        return replace(self._clouds, labels=np.zeros_like(self._clouds.labels), parts=None)

    def class_pool(self) -> npt.NDArray[np.int64]:
        """All labels, sorted: class counts that point to no object."""
        import numpy as np

        return np.sort(self._clouds.labels)

    def positions(
        self, choose: Callable[[npt.NDArray[np.int64]], Sequence[npt.NDArray[np.int64]]]
    ) -> list[npt.NDArray[np.int64]]:
        """Return test positions chosen by label, ascending, without the labels.

        A protocol can then note a network's predictions for them after every epoch, and compare these with the labels
        later.

        What a network says about them after every epoch can then be noted down, to be compared with labels later.

        Args:
            choose: Gets the labels ``[m]`` and returns positions; it must hand nothing else on.
        """
        import numpy as np

        return [np.sort(index) for index in choose(self._clouds.labels)]

    def categories(self) -> npt.NDArray[np.int64]:
        """Category of each object ``[m]``, an input of part segmentation.

        It says what an object is.

        What it is judged by, the parts, stays sealed. No protocol that predicts the class may ask for this.
        """
        return self._clouds.labels

    def reveal_parts(self) -> npt.NDArray[np.int64]:
        """Return the part of each point ``[m, N]``; call once.

        Every call is counted, as by `reveal`.

        Raises:
            UsageError: The data set has no part labels.
        """
        if self._clouds.parts is None:
            raise UsageError("part segmentation: the test split has no part labels")
        self.revealed += 1
        return self._clouds.parts

    def reveal(self) -> npt.NDArray[np.int64]:
        """Return the labels ``[m]``; call once, after all choices.

        Every call is counted.
        """
        self.revealed += 1
        return self._clouds.labels


@dataclass(frozen=True)
class Origin:
    """Positions of a split's objects in the whole data set.

    Caches hold every data set once, whatever part of it is used.

    Attributes:
        manifest: Digest of that data set's content.
        points: All clouds of its split of the same name ``[n, N, 3]``; no label comes along.
        rows: int64, position of each of the task's objects among them.
        normals: Normals of all these points, or None.
    """

    manifest: str
    points: npt.NDArray[np.float32]
    rows: npt.NDArray[np.int64]
    normals: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class CorruptedTest:
    """Corrupted clouds of a task's test split.

    Attributes:
        suite: Identity of the corruptions; caches carry it.
        conditions: Names of type and level, e.g. ``jitter-3``.
        clouds: Makes or reads the clouds ``[m, N', 3]`` of a condition, in the order of the whole test split.
    """

    suite: str
    conditions: tuple[str, ...]
    clouds: Callable[[str], npt.NDArray[np.float32]]


@dataclass
class Task:
    """A data set prepared for judging an encoder.

    Attributes:
        train: Training split; validation is carved from it by the protocol.
        test: Test split with sealed labels.
        data_manifest: Digest of the data set's content.
        split_seed: Root seed of splits and folds: every method and every pretraining seed shares them.
        seed: Root seed of the probe stream (head initialisation, order, augmentation).
        device: Torch device encoders run on.
        numerics: Device, precision and other machine settings that change numbers.
        cache: Folder of what can be made again (clouds, features).
        workdir: Folder for unfinished state (checkpoints of fine-tuning).
        points: Points of a cloud that the encoder sees.
        form: ``fair``, or ``published`` for the authors' own recipe.
        legacy: Whether the number that selection on the test split would give is wanted beside the others.
        dataset: The data set itself, for what is no labelled object (rooms, names of parts).
        origins: By split (``train``, ``test``), where its objects come from; no entry where they are all of the data
            set's own, under `data_manifest`.
        alignment: Gives the heads into the teacher's joint space, and the teacher; None where there are none.
        corrupted: Corrupted clouds of the test split, to be scored beside the clean ones; None where none are wanted.
        least_points: Points that the encoder needs; corrupted clouds with fewer have theirs repeated.
        progress: Told about long work.
        frozen: Proof by candidate that an encoder whose features were taken is frozen (`bench.models.frozen.Frozen`);
            filled while a protocol runs.
    """

    train: CloudSet
    test: HeldOut
    data_manifest: str
    split_seed: int
    seed: int
    device: str
    numerics: Numerics
    cache: Path
    workdir: Path
    points: int
    form: Form = "fair"
    legacy: bool = False
    dataset: Dataset | None = None
    origins: Mapping[str, Origin] = field(default_factory=dict)
    alignment: Callable[[], Alignment] | None = None
    corrupted: CorruptedTest | None = None
    least_points: int = 1
    progress: Progress = field(default=silent, repr=False)
    frozen: dict[str, JsonValue] = field(default_factory=dict)


@dataclass
class Evaluation:
    """Result of a protocol.

    Attributes:
        metrics: Numbers of the chosen candidate (headline) and of the others.
        predictions: Per-object arrays by name; names ending in ``.<candidate>`` belong to candidates that were
            not chosen.
        curves: Series by name, each a list of (step, value).
        notes: Decisions of this evaluation, e.g. ``clipped``, ``candidate``, ``strength``.
        split_digest: SHA-256 of everything drawn (validation part, supports, queries); equal digests mean paired
            numbers.
    """

    metrics: list[Metric]
    predictions: dict[str, npt.NDArray[np.generic]]
    curves: dict[str, list[tuple[float, float]]]
    notes: dict[str, JsonValue]
    split_digest: str

    def check(self) -> None:
        """Refuse what cannot be a result.

        The largest of answers that are NaN is the first class: an accuracy without meaning.

        Raises:
            DivergedError: A headline or an answer is NaN or infinite.
            BenchError: A headline is no fraction.
        """
        import numpy as np

        for one in self.metrics:
            if one.headline and not 0 <= one.value <= 1:
                kind = BenchError if math.isfinite(one.value) else DivergedError
                raise kind(f"headline '{one.name}' is {one.value:g}, expected a fraction from 0 to 1")
        for name, array in self.predictions.items():
            if name.partition(".")[0] == "logits" and array.dtype.kind == "f" and not np.isfinite(array).all():
                bad = int((~np.isfinite(array)).sum())
                raise DivergedError(f"{bad:,} of {array.size:,} numbers in predictions['{name}'] are NaN or infinite")


class ProtocolOptions(Frozen):
    """Base of every protocol's options: immutable, refuses unknown fields.

    It also refuses a recipe with fields that only pretraining uses.
    """

    @model_validator(mode="after")
    def _recipes_have_no_teacher(self) -> ProtocolOptions:
        for name in type(self).model_fields:
            recipe = getattr(self, name)
            if isinstance(recipe, Recipe) and (recipe.teacher_crops or recipe.teacher_prompts):
                raise ValueError(f"{name}: teacher_crops and teacher_prompts belong to the recipe of a pretraining")
        return self


class Protocol(Configured[OptionsT], ABC):
    """Base class of protocols; used as a class, never instantiated.

    A third-party protocol subclasses it in one file.

    Raise `revision` whenever what is done changes, so that older results are not compared with newer ones; better
    wording of `card` and `describe` needs none.
    """

    name: ClassVar[str]
    revision: ClassVar[int]
    summary: ClassVar[str] = ""
    """Summary in one line; empty: the first line of the class's docstring."""
    metric: ClassVar[str] = "accuracy"
    """Name of the headline metric; the report's sentences are about it."""
    forms: ClassVar[tuple[Form, ...]] = ("fair",)
    judges_teachers: ClassVar[bool] = False
    """Whether a method without an encoder can be judged, which is its teacher alone (`Subject.candidates` is empty)."""
    opponent: ClassVar[str] = ""
    """Method without an encoder that is judged beside every encoder, with that encoder's teacher; empty for none."""
    labels: ClassVar[bool] = True
    """Whether it trains on the objects' labels, of which a part may be given (``--label-fraction``)."""
    no_transfer: ClassVar[str] = ""
    """Why it cannot train on one data set and be tested on another, as in ``partseg labels parts``; empty: it can."""
    given_folds: ClassVar[bool] = False
    """Whether it can be carried out on a data set that consists of few-shot folds."""
    deviations: ClassVar[Mapping[str, str]] = {}
    """By paper, what it does otherwise; those of the built-in protocols are in `bench.protocols.card_texts`."""

    Options: ClassVar[type[BaseModel]] = ProtocolOptions
    """Options of the protocol; they enter the key."""

    @classmethod
    @abstractmethod
    def settings(cls, options: OptionsT) -> tuple[str, ...]:
        """Return the settings offered under these options, in table order."""

    @classmethod
    @abstractmethod
    def defaults(cls, preset: str, form: Form = "fair") -> OptionsT:
        """Return the options of a preset in a form."""

    @classmethod
    def skip(cls, facts: Facts, options: OptionsT) -> str | None:
        """Return why this protocol does not apply, or None."""
        if not facts.objects:
            return "the data set has no labelled objects"
        return None

    @classmethod
    def skip_setting(cls, facts: Facts, options: OptionsT, setting: str) -> str | None:
        """Return why one setting does not apply, or None."""
        return None

    @classmethod
    def trains_encoder(cls, options: OptionsT) -> bool:
        """Return whether the encoder is trained again.

        Such a run is worth a process of its own.
        """
        return False

    @classmethod
    def calibrates(cls, options: OptionsT, form: Form) -> bool:
        """Return whether candidates with recalibrated BatchNorm statistics are added.

        The statistics are those of the unlabelled training clouds.

        Validation then chooses between the candidates, of pretrained encoders as of `scratch`.
        """
        return False

    @classmethod
    def keeps_clouds(cls, options: OptionsT) -> str:
        """Return why clouds may be neither corrupted nor turned.

        Empty: they may (``--corruptions`` with `bench.protocols.robustness`, ``--rotation``).
        """
        return "it judges clouds as they are stored"

    @classmethod
    def idle(cls, options: OptionsT) -> Mapping[str, str]:
        """Return options that have no effect beside the others.

        Returns:
            By dotted path, e.g. ``recipe.head_lr_scale``, the end of a sentence that begins with "does nothing". A
            request that sets one is refused.
        """
        return {}

    @classmethod
    def describe(cls, options: OptionsT) -> Description:
        """Describe point by point what is done under these options.

        A point that is left out is shown as not stated.
        """
        return Description()

    @classmethod
    @abstractmethod
    def card(cls, options: OptionsT) -> str:
        """Describe in plain sentences what is done under these options."""

    @classmethod
    @abstractmethod
    def evaluate(cls, subject: Subject, task: Task, setting: str, options: OptionsT) -> Evaluation:
        """Judge a subject in one setting.

        Raises:
            UsageError: An option, the setting or the data do not fit the protocol.
            BenchError: The encoder gives features that cannot be used.
        """


AnyProtocol = Protocol[BaseModel]
"""A protocol of which only its name is known: options are made by its `parse`."""
