"""Find the encoders, networks and clouds to analyse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import JsonValue

from bench.analysis.output import Origin
from bench.data.base import CloudSet
from bench.data.transforms import unit_sphere
from bench.errors import BenchError, DataError, UsageError
from bench.methods.weights import Network, load_encoder, load_network
from bench.models.encoder import Encoder
from bench.models.ops import gather_points
from bench.models.ops.fps import farthest_point_sample
from bench.paths import Workspace
from bench.plan.code import encoder_fingerprint
from bench.plan.encoders import StoredEncoder, encoder_key, find_encoder, stored_encoders
from bench.plan.located import Located, locate, open_dataset
from bench.plan.overrides import Overrides
from bench.plan.presets import preset
from bench.registry import METHODS
from bench.seeds import numpy_stream
from bench.spec import content_key
from bench.stats.naming import percent
from bench.store.artifacts import ArtifactStore

BATCH = 64
MOST_SHOWN = 12
"""Most objects in a picture of clouds."""


@dataclass(frozen=True)
class Subjects:
    """Encoders to analyse.

    Attributes:
        encoders: Imported names or beginnings of keys.
        methods: Methods whose stored encoders are meant.
        seed: Of those; None for any.
    """

    encoders: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    seed: int | None = None


@dataclass(frozen=True)
class Objects:
    """Objects shown to the encoders.

    Attributes:
        dataset: ``NAME[:ROOT]``.
        split: Split.
        preset: Gives embedded sets their size.
        overrides: Assignments to ``data.FIELD``.
        count: Number of objects; None for the analysis's default.
        named: Positions in the split instead.
    """

    dataset: str
    split: Literal["train", "test"] = "test"
    preset: str = "nano"
    overrides: tuple[tuple[str, JsonValue], ...] = ()
    count: int | None = None
    named: tuple[int, ...] = ()


class Sources:
    """Finds and opens encoders and clouds.

    Attributes:
        notes: Remarks for the reader, one line each.
    """

    def __init__(self, place: Workspace, subjects: Subjects) -> None:
        self.place = place
        self.subjects = subjects
        self.notes: list[str] = []
        self.artifacts = ArtifactStore(place.results, readonly=True)

    def chosen(self, *, several: bool) -> list[StoredEncoder]:
        """Return the encoders asked for, each once.

        Raises:
            UsageError: None, or more than the analysis takes.
        """
        results = self.place.results
        found = {(e := find_encoder(results, text)).key: e for text in self.subjects.encoders}
        for name in self.subjects.methods:
            METHODS.entry(name)
            own = [e for e in stored_encoders(results) if e.spec.method == name]
            fitting = [e for e in own if self.subjects.seed in (None, e.spec.seed) or e.spec.imported is not None]
            if not fitting:
                seed = "" if self.subjects.seed is None else f" with seed {self.subjects.seed}"
                raise UsageError(
                    f"no encoder of {name}{seed} is stored: train one with bench run --method {name}; "
                    "bench encoders lists what is there"
                )
            fitting = [e for e in fitting if e.spec.at == 1] or fitting  # one kept on the way is named by its key
            found |= {e.key: e for e in fitting}  # sorted by age, so the newest of a key remains
        if not found:
            raise UsageError("name an encoder (--encoder, see bench encoders) or a method whose encoders are stored")
        if len(found) > 1 and not several:
            shown = ", ".join(e.shown for e in list(found.values())[:6])
            raise UsageError(
                f"{len(found)} encoders fit and this analysis takes one: add --seed, or name it by --encoder ({shown})"
            )
        return list(found.values())

    def measured(self, chosen: list[StoredEncoder]) -> list[StoredEncoder]:
        """Keep encoders with held-out losses, per method.

        Encoders without are kept only if no other of their method has them.
        """
        kept = []
        for encoder in chosen:
            twins = [e for e in chosen if e.spec.method == encoder.spec.method and e.spec.held_out]
            if encoder.spec.held_out or not twins or encoder.key.startswith(self.subjects.encoders or ("-",)):
                kept.append(encoder)
        if len(kept) < len(chosen):
            self.notes.append(f"{len(chosen) - len(kept)} encoder(s) trained without --held-out-losses are left out")
        return kept

    def encoder(self, found: StoredEncoder) -> Encoder:
        """Rebuild an encoder on the CPU, in evaluation mode.

        Raises:
            UsageError: Its weights do not fit the present code.
        """
        self._say_code(found)
        try:
            return load_encoder(found.folder, METHODS.load(found.spec.method), found.spec).float().eval()
        except (RuntimeError, ValueError) as error:
            raise UsageError(
                f"encoder {found.shown} does not fit the present code ({str(error).splitlines()[-1].strip()}); train "
                f"it again with bench run --method {found.spec.method}"
            ) from error

    def network(self, found: StoredEncoder) -> Network:
        """Rebuild the whole pretraining network of an encoder.

        Raises:
            UsageError: Only the encoder was stored, or the weights do not fit the present code.
        """
        self._say_code(found)
        first = None
        if found.spec.first_stage is not None:
            stage = found.spec.first_stage
            folder = self.artifacts.find_folder("encoder", encoder_key(stage), None, digests=True)
            if folder is None:
                raise BenchError(f"the first stage of encoder {found.shown} is missing from the results folder")
            first = load_encoder(folder, METHODS.load(stage.method), stage)
        return load_network(found.folder, METHODS.load(found.spec.method), found.spec, first, found.shown)

    def _say_code(self, found: StoredEncoder) -> None:
        stored = self.artifacts.manifest(found.folder).fingerprint
        if found.spec.imported is None and stored != encoder_fingerprint(found.spec).digest:
            self.notes.append(
                f"{found.shown} was trained by other code than the present one; its weights are as stored"
            )

    def clouds(self, objects: Objects, *, default: int, spread: bool) -> tuple[CloudSet, Located]:
        """Open the data and select objects.

        Those named, or a draw (`spread`: one of each of several classes).
        """
        overrides = Overrides(dict(objects.overrides), frozenset({"data"}))
        located = locate(objects.dataset, "data", preset(objects.preset), overrides, self.place)
        overrides.check_all_taken()
        dataset = open_dataset(located, self.place)
        if dataset.card.has_rooms:
            raise UsageError(f"{located.label} consists of rooms; analyses look at objects: choose another --dataset")
        clouds = dataset.load(objects.split)
        if not len(clouds):
            raise DataError(f"{located.label} has no objects in its {objects.split} split; choose another --split")
        picked = _positions(clouds, objects, default, spread)
        if spread and len(picked) > MOST_SHOWN:
            raise UsageError(f"{len(picked)} objects do not fit into a picture: name at most {MOST_SHOWN}")
        return clouds.subset(picked), located

    def points(self, clouds: CloudSet, encoder: StoredEncoder) -> torch.Tensor:
        """Return clouds as protocols show them to an encoder.

        In the unit sphere, the farthest points of each.
        """
        points = unit_sphere(torch.from_numpy(np.array(clouds.points, dtype=np.float32)))
        count = encoder.spec.backbone.points
        if count < points.shape[1]:
            points = gather_points(points, farthest_point_sample(points, count))
        elif count > points.shape[1]:
            self.notes.append(f"{encoder.shown} takes {count} points, the clouds have {points.shape[1]}: all are used")
        return points

    @torch.no_grad()
    def features(self, encoder: StoredEncoder, clouds: CloudSet, feature: str) -> npt.NDArray[np.float32]:
        """Return one feature of every cloud, ``[n, F]``.

        Raises:
            UsageError: The encoder offers no feature of that name.
            BenchError: It is not finite.
        """
        network = self.encoder(encoder)
        points = self.points(clouds, encoder)
        parts = [
            network.feature(network(points[start : start + BATCH]), feature) for start in range(0, len(points), BATCH)
        ]
        found: npt.NDArray[np.float32] = torch.cat(parts).numpy()
        if not np.isfinite(found).all():
            raise BenchError(f"feature '{feature}' of encoder {encoder.shown} is not finite: its weights are damaged")
        return found

    def origin(
        self, encoder: StoredEncoder, name: str, located: Located | None = None, objects: Objects | None = None
    ) -> Origin:
        """Describe the origin of numbers.

        Without data, it is the encoder's own pretraining data.
        """
        code = self.artifacts.manifest(encoder.folder).fingerprint
        if located is None or objects is None:
            data = encoder.spec.data
            return Origin(name, encoder.key, code, encoder.trained_on, data.manifest if data is not None else "")
        return Origin(name, encoder.key, code, f"{located.label} ({objects.split})", located.spec.manifest)


def _positions(clouds: CloudSet, objects: Objects, default: int, spread: bool) -> npt.NDArray[np.int64]:
    """Return positions of the objects, a draw's in ascending order."""
    size = len(clouds)
    if objects.named:
        for position in objects.named:
            if not 0 <= position < size:
                raise UsageError(f"--objects {position}: the {objects.split} split has objects 0 to {size - 1}")
        return np.array(objects.named, dtype=np.int64)
    count = objects.count if objects.count is not None else default
    if count < 1:
        raise UsageError(f"--count {count}: expected at least 1")
    if not spread:
        drawn = numpy_stream(0, "data", "analysis").permutation(size)[:count]
        return np.sort(drawn).astype(np.int64)
    classes, first = np.unique(clouds.labels, return_index=True)
    chosen = np.unique(np.linspace(0, len(classes) - 1, min(count, len(classes))).astype(np.int64))
    rest = np.setdiff1d(np.arange(size), first[chosen])[: count - len(chosen)]
    return np.concatenate([first[chosen], rest]).astype(np.int64)


def names_of(chosen: list[StoredEncoder]) -> list[str]:
    """Return distinct names of encoders for a picture.

    The imported name, or method, seed and part of the data.
    """
    names = []
    for encoder in chosen:
        spec = encoder.spec
        part = f", {percent(spec.fraction)} of {encoder.trained_on}" if spec.fraction < 1 else ""
        part += f", after {percent(spec.at)}" if spec.at < 1 else ""
        names.append(encoder.name or f"{spec.method}, seed {spec.seed}{part}")
    return [n if names.count(n) == 1 else f"{n} ({e.key[:6]})" for n, e in zip(names, chosen, strict=True)]


def variants_of(chosen: list[StoredEncoder]) -> list[str]:
    """Return names of pretrainings, the same for all seeds.

    By the part of the data, and a digest where needed.
    """
    named: list[tuple[str, str]] = []
    digests: dict[tuple[str, str], set[str]] = {}
    for encoder in chosen:
        spec = encoder.spec
        part = "all" if spec.fraction == 1 else percent(spec.fraction)
        name = f"{part} of {encoder.trained_on}" + (", same epochs" if spec.budget == "epochs" else "")
        digest = content_key(spec.model_copy(update={"seed": 0, "first_stage": None}))
        named.append((name, digest))
        digests.setdefault((spec.method, name), set()).add(digest)
    return [
        f"{name} ({digest[:4]})" if len(digests[encoder.spec.method, name]) > 1 else name
        for encoder, (name, digest) in zip(chosen, named, strict=True)
    ]
