"""Data sets in the layout of ScanObjectNN's ``h5_files``.

With any list of classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from bench.data.base import DatasetCard, SplitName
from bench.data.h5io import Fields
from bench.data.h5set import H5Dataset, data_root, holding_folder
from bench.errors import DataError, unknown_name
from bench.spec import Frozen

Variant = Literal["obj_bg", "obj_only", "pb_t25", "pb_t25_r", "pb_t50_r", "pb_t50_rs"]

SUFFIXES: dict[Variant, str] = {
    "obj_bg": "",
    "obj_only": "",
    "pb_t25": "_augmented25_norot",
    "pb_t25_r": "_augmented25rot",
    "pb_t50_r": "_augmentedrot",
    "pb_t50_rs": "_augmentedrot_scale75",
}
COUNTS: dict[Variant, dict[str, int]] = {
    "obj_bg": {"train": 2_309, "test": 581},
    "obj_only": {"train": 2_309, "test": 581},
    "pb_t50_rs": {"train": 11_416, "test": 2_882},
}
"""Known numbers of objects of the release's ``main_split`` (docs/data-formats.md#scanobjectnn)."""
PREFIXES: dict[SplitName, str] = {"train": "training", "test": "test"}
CLASSES = (
    *("bag", "bin", "box", "cabinet", "chair", "desk", "display", "door"),
    *("shelf", "table", "bed", "pillow", "sink", "sofa", "toilet"),
)
"""Published class order (Point-BERT's ScanObjectNN_shape_names.txt), for folders with 15 classes and no names."""


class ScanObjectNNH5(H5Dataset):
    """ScanObjectNN: ``h5_files/main_split[_nobg]/{training,test}_objectdataset*.h5``.

    Fields: ``data`` [n,N,3], ``label`` [n], where there ``mask`` [n,N] (parts; -1 background). The root may be
    the folder that holds ``h5_files``, ``h5_files`` itself, or the split's own folder. Source:
    docs/data-formats.md#scanobjectnn.
    """

    name: ClassVar[str] = "scanobjectnn-h5"
    card: ClassVar[DatasetCard] = DatasetCard(
        summary="A folder in the layout of ScanObjectNN's h5_files (scanned objects, any class list)",
        licence="ScanObjectNN: terms of use, research; other sets: see the folder",
        terms="ScanObjectNN: fill in the terms-of-use form first; research use",
        citation="ScanObjectNN: Uy et al., Revisiting Point Cloud Classification: A New Benchmark Dataset, ICCV 2019; "
        "other sets: see the folder",
        normalisation="none: the Point-MAE family feeds the stored coordinates (unit-sphere range, y up)",
        size="two files per variant; clouds of obj_bg take 71 MB, of pb_t50_rs 351 MB, masks 2 / 3 more in memory",
        counts=COUNTS["obj_bg"],
        how_to_get="form at https://hkust-vgd.github.io/scanobjectnn/ ; unpack h5_files, then scanobjectnn-h5:DIR",
    )
    fields: ClassVar[Fields] = Fields(parts="mask", part_gaps=True)

    class Options(Frozen):
        """Options of the files to read; they enter the key."""

        variant: Variant = Field("obj_bg", description="obj_only reads the folder without background")
        split: str = Field("main_split", description="split folder, e.g. split1; obj_only appends _nobg")

    def known_counts(self) -> dict[str, int]:
        """Return the release's numbers of objects per split.

        Empty for variants and splits whose numbers are unknown.
        """
        assert isinstance(self.options, self.Options)
        return COUNTS.get(self.options.variant, {}) if self.options.split == "main_split" else {}

    def offers_parts(self) -> bool:
        """Return False: the mask marks background, not parts."""
        return False

    def _split_folder(self) -> Path:
        assert isinstance(self.options, self.Options)
        root = data_root(self.place.root, self.name, "h5_files")
        wanted = self.options.split + ("_nobg" if self.options.variant == "obj_only" else "")
        candidates = [root / "h5_files" / wanted, root / wanted, *([root] if root.name == wanted else [])]
        for folder in candidates:
            if folder.is_dir():
                return folder
        base = root / "h5_files" if (root / "h5_files").is_dir() else root
        splits = [p.name for p in base.iterdir() if p.is_dir() and any(p.glob("*_objectdataset*.h5"))]
        if splits:
            reason = unknown_name(f"split folder of variant {self.options.variant}", wanted, splits)
            raise DataError(f"{base}: {reason}")
        hint = holding_folder(root, "h5_files")
        if any(root.glob("ply_data_*.h5")):
            hint = f"; it looks like the ModelNet40 layout, try modelnet-h5:{root}"
        raise DataError(f"{root}: no h5_files/{wanted} nor {wanted} here{hint}")

    def _files(self, split: SplitName) -> list[Path]:
        assert isinstance(self.options, self.Options)
        folder = self._split_folder()
        path = folder / f"{PREFIXES[split]}_objectdataset{SUFFIXES[self.options.variant]}.h5"
        if not path.is_file():
            held = ", ".join(sorted(p.name for p in folder.glob("*.h5"))) or "no .h5 file"
            raise DataError(f"{path}: no such file (variant {self.options.variant}); the folder holds: {held}")
        return [path]

    def _beside(self, name: str) -> Path | None:
        """Find a file in the split's folder or above.

        Searches up to two folders above, nearest first.
        """
        folder = self._split_folder().absolute()
        return next((p / name for p in (folder, *folder.parents[:2]) if (p / name).is_file()), None)

    def _class_list(self) -> Path | None:
        return self._beside("shape_names.txt")

    def _names_file(self, split: SplitName, path: Path) -> Path | None:
        # Augmented variants hold several rows per object, so a list of objects does not name their rows.
        return self._beside(f"{PREFIXES[split]}_names.json") if path.stem.endswith("_objectdataset") else None

    def _known_classes(self, highest: int) -> tuple[str, ...] | None:
        return CLASSES if highest == len(CLASSES) - 1 else None
