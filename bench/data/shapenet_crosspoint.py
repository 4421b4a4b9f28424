"""ShapeNet in CrossPoint's layout: PLY clouds and rendered pictures.

It has no split.
"""

from __future__ import annotations

import hashlib
import os
from functools import cached_property
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import numpy.typing as npt
from pydantic import Field

from bench.data.base import CloudSet, Dataset, DatasetCard, SplitName
from bench.data.converted import Column, Deferred, Reader, convert
from bench.data.digest import manifest_digest
from bench.data.filelists import FileList, list_files
from bench.data.h5set import data_root, holding_folder, natural_key
from bench.data.holdout import hold_out
from bench.data.ply import read_ply_points
from bench.data.shapenet import picture_reader, take
from bench.data.shapenet_names import categories
from bench.data.splits import Index
from bench.errors import DataError
from bench.spec import Frozen


class ShapeNetCrossPoint(Dataset):
    """ShapeNet clouds with renderings, as CrossPoint arranges them.

    Files are ``ShapeNet/<synset>/<model>.ply`` and ``ShapeNetRendering/<synset>/<model>/rendering/*.png``. The root
    holds both folders. All files belong to the set; CrossPoint trains on all of them. Here a fixed fifth of each
    category (by hash of the names) is the test split, unless ``whole`` is asked for. Objects without renderings are
    left out where pictures are read. The caption of an object is its category's name. Source:
    docs/data-formats.md#shapenet-of-crosspoint.
    """

    name: ClassVar[str] = "shapenet-crosspoint"
    needs_root: ClassVar[bool] = True
    card: ClassVar[DatasetCard] = DatasetCard(
        summary="ShapeNet clouds with renderings from several sides, as CrossPoint pretrains on them",
        licence="ShapeNet: non-commercial research and education",
        terms="register with ShapeNet and accept its terms of use",
        citation=(
            "Chang et al., ShapeNet: An Information-Rich 3D Model Repository, 2015; renderings: Xu et al., DISN, "
            "NeurIPS 2019; arrangement: Afham et al., CrossPoint, CVPR 2022"
        ),
        normalisation="CrossPoint centres each cloud on its mean and scales the farthest point to radius 1",
        has_images=True,
        has_captions=True,
        size="not known; an object takes 25 kB of cache, four pictures of 112 x 112 another 0.15 MB",
        how_to_get=(
            "Google Drive archives shapenet and shapenet_render, linked in CrossPoint's data/download_data.sh; "
            "unpack both into one folder, then shapenet-crosspoint:DIR"
        ),
    )
    revision: ClassVar[int] = 1

    class Options(Frozen):
        """Options of the objects and pictures; they enter the key."""

        points: int = Field(
            2048, ge=16, le=65_536, description="vertices kept of each cloud, a fixed random choice; none has fewer"
        )
        whole: bool = Field(
            False, description="train on every object, as CrossPoint does; the test split is then no longer unseen"
        )
        test_fraction: float = Field(0.2, gt=0, lt=1, description="share of each category for the test split")
        views: int = Field(4, ge=0, le=64, description="pictures per object, the first ones by name; 0: none")
        view_size: int = Field(112, ge=16, le=512, description="height and width of the pictures")
        reference: bool = Field(False, description="drop the transparency of pictures, as released")

    @property
    def _chosen(self) -> Options:
        assert isinstance(self.options, ShapeNetCrossPoint.Options)
        return self.options

    @cached_property
    def _root(self) -> Path:
        root = data_root(self.place.root, self.name, "ShapeNet and ShapeNetRendering")
        for folder in (root, root.parent):
            if (folder / "ShapeNet").is_dir() and (folder == root or root.name in ("ShapeNet", "ShapeNetRendering")):
                return folder
        raise DataError(f"{root}: no folder ShapeNet here{holding_folder(root, 'ShapeNet')}")

    @cached_property
    def _offered(self) -> bool:
        return self._chosen.views > 0 and (self._root / "ShapeNetRendering").is_dir()

    @cached_property
    def _names(self) -> list[str]:
        """Return the names of all clouds, ``<synset>/<model>``."""
        folder, names = self._root / "ShapeNet", list[str]()
        for synset in _entries(folder):
            if (folder / synset).is_dir():
                names += [f"{synset}/{n.removesuffix('.ply')}" for n in _entries(folder / synset) if n.endswith(".ply")]
        if not names:
            raise DataError(f"{folder}: holds no <synset>/<model>.ply")
        return names

    @cached_property
    def _listed(self) -> tuple[list[str], list[str]]:
        """Return the objects' names, and their pictures if requested.

        Pictures are paths below the folders ``rendering``.
        """
        names, wanted = self._names, self._chosen.views
        if not self._offered:
            return names, []
        shown, pictures = list[str](), list[str]()
        for name in names:
            below = self._root / "ShapeNetRendering" / name / "rendering"
            found = [n for n in _entries(below, missing_ok=True) if n.lower().endswith(".png")]
            if not found:
                continue
            if len(found) < wanted:
                raise DataError(
                    f"{below}: holds {len(found)} pictures, expected at least {wanted}; set data.views={len(found)}"
                )
            shown.append(name)
            pictures += [f"{name}/rendering/{n}" for n in sorted(found, key=natural_key)[:wanted]]
        if not shown:
            raise DataError(
                f"{self._root / 'ShapeNetRendering'}: holds no <synset>/<model>/rendering/*.png; set data.views=0"
            )
        return shown, pictures

    @cached_property
    def _clouds(self) -> FileList:
        names = [f"{name}.ply" for name in self._listed[0]]
        return list_files(self._root / "ShapeNet", names, self.place.cache, self.place.progress)

    @cached_property
    def _pictures(self) -> FileList | None:
        if not self._offered:
            return None
        return list_files(self._root / "ShapeNetRendering", self._listed[1], self.place.cache, self.place.progress)

    @cached_property
    def _categories(self) -> tuple[npt.NDArray[np.int64], tuple[str, ...], tuple[str, ...]]:
        synsets = [name.split("/")[0] for name in self._listed[0]]
        order, classes, captions = categories(synsets, None)
        rank = {synset: label for label, synset in enumerate(order)}
        return np.asarray([rank[synset] for synset in synsets], dtype=np.int64), classes, captions

    def _index(self, split: SplitName) -> Index:
        labels = self._categories[0]
        train, test = hold_out(self._listed[0], labels, self._chosen.test_fraction)
        if split == "test":
            return test
        return np.arange(len(labels), dtype=np.int64) if self._chosen.whole else train

    def manifest(self) -> str:
        """Return the SHA-256 of clouds, pictures and options.

        See `Dataset.manifest`.
        """
        return self._manifest

    @cached_property
    def _manifest(self) -> str:
        listed = [("clouds", f"{len(self._clouds)} files", self._clouds.digest)]
        if self._pictures is not None:
            listed.append(("pictures", f"{len(self._pictures)} files", self._pictures.digest))
        return manifest_digest(self.name, self.revision, self.options.model_dump(mode="json"), listed)

    def remarks(self) -> tuple[str, ...]:
        """Report clouds without renderings, which are left out."""
        left_out = len(self._names) - len(self._listed[0])
        return (
            (f"{left_out:,} clouds have no renderings and are left out; data.views=0 reads them",) if left_out else ()
        )

    def offers_images(self) -> bool:
        """Return whether ``ShapeNetRendering`` exists and is requested."""
        return self._offered

    def classes(self) -> tuple[str, ...]:
        """Return the names of the present categories, index = label."""
        return self._categories[1]

    def train_size(self) -> int:
        """Return the number of training objects without reading files."""
        return len(self._index("train"))

    def load(self, split: SplitName) -> CloudSet:
        """Load one split; pictures are read at their first use.

        Raises:
            DataError: A file is invalid; the message names file and fault.
        """
        index, (labels, classes, captions) = self._index(split), self._categories
        reader = _cloud_reader(self._chosen.points)
        points = convert(self._clouds, reader, self.place.cache, self.place.progress).arrays["points"]
        views = self._views(index)
        return CloudSet(
            points=take(points, index),
            labels=labels[index],
            ids=tuple(self._listed[0][i].replace("/", "-", 1) for i in index.tolist()),
            classes=classes,
            captions=tuple(captions[label] for label in labels[index].tolist()),
            views=views,
            views_kind="shaded" if views is not None else None,
        )

    def _views(self, index: Index) -> npt.NDArray[np.uint8] | None:
        files, count, size = self._pictures, self._chosen.views, self._chosen.view_size
        if files is None:
            return None
        reader = picture_reader(size, self._chosen.reference)

        def make() -> npt.NDArray[np.uint8]:
            views = convert(files, reader, self.place.cache, self.place.progress).arrays["views"]
            return take(views.reshape(-1, count, size, size, 3), index)

        return cast("npt.NDArray[np.uint8]", Deferred((len(index), count, size, size, 3), "uint8", make))


def _entries(folder: Path, missing_ok: bool = False) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 (faster for 44,000 folders)
    except (FileNotFoundError, NotADirectoryError) as error:
        if missing_ok:
            return []
        raise DataError(f"{folder}: no such folder") from error
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror or error}") from error


def _cloud_reader(count: int) -> Reader:
    """Return a reader that keeps `count` vertices of a file.

    They are chosen by the object's name.
    """

    def read(path: Path) -> dict[str, npt.NDArray[np.float32]]:
        points = read_ply_points(path)
        if len(points) < count:
            raise DataError(
                f"{path}: has {len(points)} vertices, expected at least {count}; set data.points={len(points)}"
            )
        seed = int.from_bytes(
            hashlib.sha256(f"{path.parent.name}/{path.stem}".encode("utf-8", "surrogateescape")).digest()[:8], "big"
        )
        chosen = np.argsort(np.random.Generator(np.random.PCG64(seed)).random(len(points)), kind="stable")[:count]
        return {"points": points[chosen]}

    return Reader("shapenet-ply", {"points": Column("float32", (count, 3))}, read)
