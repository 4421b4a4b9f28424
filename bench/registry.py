"""One typed registry for methods, protocols, data sets, teachers and parts of the backbone.

Targets are ``module:attribute`` strings imported on first use, so listing names costs nothing. Third parties add
theirs through `bench.plugins`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from bench.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from bench.data.base import Dataset
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
        summary: One line.
        needs: What it needs to run, in words.
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
    summary: str
    needs: str = "nothing"
    modules: tuple[str, ...] = ()
    source: str = "built in"
    version: str = ""
    part_of: str = ""
    named_only: bool = False

    @property
    def module(self) -> str:
        """Dotted name of the module that defines the target."""
        return self.target.partition(":")[0]

    def unusable(self) -> str | None:
        """Return why this entry cannot be used on this machine, or None when it can."""
        for module in self.modules:
            if importlib.util.find_spec(module) is None:
                return f"Python module '{module}' is not installed"
        return None


class Registry(Generic[T]):
    """Names of one kind, each with a lazily imported class."""

    def __init__(self, kind: str, entries: tuple[Entry, ...]) -> None:
        self.kind = kind
        self._entries = {entry.name: entry for entry in entries}

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def names(self) -> tuple[str, ...]:
        """Return all names in order of registration."""
        return tuple(self._entries)

    def standalone(self) -> tuple[str, ...]:
        """Return the names that ``all`` stands for: those that are no stage of another and may go unnamed."""
        return tuple(entry.name for entry in self if not (entry.part_of or entry.named_only))

    def add(self, entry: Entry) -> None:
        """Register a plugin's entry.

        Raises:
            UsageError: The name is taken by something else.
        """
        known = self._entries.get(entry.name)
        if known is not None and known.target != entry.target:
            raise UsageError(
                f"{entry.source} registers {self.kind[:-1]} '{entry.name}', "
                f"which {known.source} already provides; rename it"
            )
        self._entries[entry.name] = entry

    def entry(self, name: str) -> Entry:
        """Return the entry of a name.

        Raises:
            UsageError: Unknown name (with near-miss suggestions).
        """
        try:
            return self._entries[name]
        except KeyError:
            raise unknown_name(self.kind[:-1], name, self._entries) from None

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
    rows: dict[str, tuple[str, str, str]],
    modules: tuple[str, ...],
    part_of: dict[str, str] | None = None,
    named_only: tuple[str, ...] = (),
) -> tuple[Entry, ...]:
    stages = part_of or {}
    return tuple(
        Entry(kind, name, target, summary, needs, modules, part_of=stages.get(name, ""), named_only=name in named_only)
        for name, (target, summary, needs) in rows.items()
    )


METHODS: Registry[AnyMethod] = Registry(
    "methods",
    _entries(
        "methods",
        {
            "recon": (
                "bench.methods.recon:ReCon",
                "reconstruction guided by cross-modal contrast (ReCon, ICML 2023)",
                "a teacher; images and captions where the data has them",
            ),
            "point-mae": ("bench.methods.point_mae:PointMAE", "masked autoencoding of point patches", "points only"),
            "act": (
                "bench.methods.act:ACT",
                "masked distillation of a cross-modal autoencoder (ACT, ICLR 2023)",
                "a teacher with a token transformer",
            ),
            "act-dvae": (
                "bench.methods.act_dvae:ActDvae",
                "first stage of act: autoencoder around a frozen 2D or language transformer",
                "a teacher with a token transformer",
            ),
            "crosspoint": (
                "bench.methods.crosspoint:CrossPoint",
                "contrast of two views and of points with images (CrossPoint, CVPR 2022)",
                "images; depth renderings of the points where the data has none",
            ),
            "multitask": (
                "bench.methods.multitask:Multitask",
                "reconstruction and contrast in one shared encoder (our reading of ReCon's vanilla baseline)",
                "a teacher; images and captions where the data has them",
            ),
            "two-tower": (
                "bench.methods.two_tower:TwoTower",
                "reconstruction and contrast in separate towers (ReCon's two-tower baseline)",
                "a teacher; images and captions where the data has them",
            ),
            "scratch": (
                "bench.methods.scratch:Scratch",
                "no pretraining: the compared method's architecture, better of two initialisations",
                "nothing",
            ),
            "render-classify": (
                "bench.methods.render_classify:RenderClassify",
                "the teacher alone, shown depth views of the cloud (as PointCLIP); runs beside zeroshot",
                "a teacher of images and texts",
            ),
        },
        ("torch",),
        part_of={"act-dvae": "act"},
        named_only=("render-classify",),
    ),
)

PROTOCOLS: Registry[AnyProtocol] = Registry(
    "protocols",
    _entries(
        "protocols",
        {
            "fewshot": ("bench.protocols.fewshot:FewShot", "w-way n-shot classification over 10 folds", "labels"),
            "finetune": (
                "bench.protocols.finetune:Finetune",
                "encoder and three-layer head trained together",
                "labels",
            ),
            "linear": ("bench.protocols.linear:Linear", "logistic regression on frozen features", "labels"),
            "mlp": ("bench.protocols.mlp:Mlp", "three-layer head on frozen features", "labels"),
            "svm": ("bench.protocols.svm:Svm", "linear SVM on frozen features", "labels"),
            "knn": ("bench.protocols.knn:Knn", "nearest neighbours in frozen features", "labels"),
            "zeroshot": (
                "bench.protocols.zeroshot:Zeroshot",
                "classification by class names; render-classify runs beside it",
                "a method with heads into a teacher's space",
            ),
            "retrieval": (
                "bench.protocols.retrieval:Retrieval",
                "clouds, captions and pictures of held-out objects find each other",
                "captions, and a method with heads into a teacher's space",
            ),
            "partseg": (
                "bench.protocols.partseg:PartSegmentation",
                "part of each point, fine-tuned, by instance and class mIoU",
                "labels of parts",
            ),
            "semseg": (
                "bench.protocols.semseg:SemanticSegmentation",
                "class of each point of whole rooms, one area held out",
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
            "shapes": (f"{_SHAPES}:Shapes", "procedural everyday objects with captions and views", "nothing"),
            "shapes-cad": (f"{_SHAPES}:ShapesCad", "clean procedural objects, as ModelNet40", "nothing"),
            "shapes-scan": (f"{_SHAPES}:ShapesScan", "single noisy views with clutter, as ScanObjectNN", "nothing"),
            "shapes-cad-novel": (f"{_SHAPES}:ShapesCadNovel", "shapes-cad of categories no pretraining saw", "nothing"),
            "shapes-scan-novel": (
                f"{_SHAPES}:ShapesScanNovel",
                "shapes-scan of categories no pretraining saw",
                "nothing",
            ),
            "shapes-rooms": (
                "bench.data.rooms.dataset:ShapesRooms",
                "procedural furnished rooms in six areas, as S3DIS",
                "nothing",
            ),
            "s3dis": ("bench.data.s3dis:S3DIS", "S3DIS as whole rooms (.npy)", "its folder: s3dis:DIR"),
            "s3dis-h5": ("bench.data.s3dis:S3DISH5", "S3DIS as HDF5 blocks of 1 m", "its folder: s3dis-h5:DIR"),
            "shapenetpart": (
                "bench.data.shapenetpart:ShapeNetPart",
                "ShapeNetPart as text with normals, 50 parts",
                "its folder: shapenetpart:DIR",
            ),
            "shapenetpart-h5": (
                "bench.data.shapenetpart:ShapeNetPartH5",
                "ShapeNetPart as HDF5, 50 parts",
                "its folder: shapenetpart-h5:DIR",
            ),
            "clouds": (
                "bench.data.clouds:Clouds",
                "a folder of clouds: <class>/<file>.{npy,npz,ply,pcd,txt,csv,xyz}",
                "a folder: clouds:DIR",
            ),
            "h5": ("bench.data.single_h5:SingleH5", "one HDF5 file of clouds and labels", "a file: h5:FILE"),
            "modelnet-h5": (
                "bench.data.modelnet_h5:ModelNetH5",
                "ModelNet40 HDF5 layout, any class list",
                "its folder: modelnet-h5:DIR",
            ),
            "scanobjectnn-h5": (
                "bench.data.scanobjectnn_h5:ScanObjectNNH5",
                "ScanObjectNN HDF5 layout",
                "its folder: scanobjectnn-h5:DIR",
            ),
            "modelnet": (
                "bench.data.modelnet:ModelNet",
                "ModelNet40 and 10 with normals, as text files or the .dat cache",
                "its folder: modelnet:DIR",
            ),
            "fewshot-pickles": (
                "bench.data.fewshot_set:FewShotPickles",
                "the field's few-shot folds of ModelNet40 as pickles, for fewshot alone",
                "its folder: fewshot-pickles:DIR",
            ),
            "shapenet55": (
                "bench.data.shapenet:ShapeNet55",
                "ShapeNet-55, -34 and -Unseen21, with ReCon's pictures and captions where there",
                "its folder: shapenet55:DIR",
            ),
            "shapenet-crosspoint": (
                "bench.data.shapenet_crosspoint:ShapeNetCrossPoint",
                "ShapeNet clouds and renderings as CrossPoint arranges them",
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
                "a folder of meshes: <class>/<file>.{off,obj,ply,glb,stl}",
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
                "small image and text tower fitted on shapes in under a minute",
                "nothing",
            ),
            "open-clip": (
                "bench.teachers.open_clip_models:OpenClipTeacher",
                "any CLIP of open_clip by name and tag, or from a file; images and texts",
                "its weights: bench teachers show open-clip",
            ),
        },
        ("torch", "open_clip"),
    )
    + _entries(
        "teachers",
        {
            "timm": (
                "bench.teachers.timm_models:TimmTeacher",
                "any image model of timm by name, or from a file; images only",
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
                "any sentence-transformers model by name or folder; texts only",
                "pip install 'recon-bench[language]'",
            ),
        },
        ("torch", "sentence_transformers"),
    ),
)

BLOCKS: Registry[Block] = Registry(
    "blocks",
    _entries(
        "blocks",
        {
            "attention": (
                "bench.models.blocks:AttentionBlock",
                "pre-norm transformer block: self-attention, then a two-layer perceptron",
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
            "layer": ("bench.models.norms:LayerNorm", "LayerNorm, as published", "nothing"),
            "rms": ("bench.models.norms:RMSNorm", "root mean square alone, no shift (RMSNorm)", "nothing"),
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
                "two-stage mini-PointNet over the points of a patch, as published",
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

REGISTRIES: dict[
    str,
    Registry[AnyMethod]
    | Registry[AnyProtocol]
    | Registry[Dataset]
    | Registry[Teacher]
    | Registry[Block]
    | Registry[Norm]
    | Registry[Tokenizer],
] = {
    "methods": METHODS,
    "protocols": PROTOCOLS,
    "datasets": DATASETS,
    "teachers": TEACHERS,
    "blocks": BLOCKS,
    "norms": NORMS,
    "tokenizers": TOKENIZERS,
}
