"""Run analyses of stored encoders; write picture, table, summary."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from bench.analysis import attention_distance, attention_maps, embedding, losses, reconstructions
from bench.analysis.output import Artefact, Origin, Row, write
from bench.analysis.sources import Objects, Sources, Subjects, names_of, variants_of
from bench.data.base import CloudSet
from bench.errors import UsageError
from bench.fingerprint import fingerprint
from bench.paths import Workspace
from bench.registry import METHODS
from bench.seeds import derive

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 4
"""Objects in a picture of clouds where none are named."""


@dataclass(frozen=True)
class Written:
    """Result of an analysis.

    Attributes:
        files: Picture, table, summary.
        lines: The numbers to quote, one line each.
        notes: Remarks for the reader.
    """

    files: tuple[Path, Path, Path]
    lines: tuple[str, ...]
    notes: tuple[str, ...]


class Analyst:
    """Runs one analysis.

    Args:
        place: Results folder.
        subjects: Encoders.
        out: Folder for the artefact.
    """

    def __init__(self, place: Workspace, subjects: Subjects, out: Path) -> None:
        self.sources = Sources(place, subjects)
        self.out = out

    def losses(self) -> Written:
        """Draw pretraining losses, on training and held-out objects."""
        chosen = self.sources.measured(self.sources.chosen(several=True))
        names = variants_of(chosen)
        found = []
        for encoder, variant in zip(chosen, names, strict=True):
            file = encoder.folder / "curves.json"
            if not file.is_file():
                raise UsageError(f"encoder {encoder.shown} was imported; the losses of its training are unknown")
            stored = json.loads(file.read_text(encoding="utf-8"))
            found.append(losses.read_curves(encoder.spec.method, variant, encoder.spec.seed, encoder.key, stored))
        without = [e.shown for e, curves in zip(chosen, found, strict=True) if not curves.held_out]
        if without:
            self.sources.notes.append(
                f"no held-out losses were measured for {', '.join(without)}: bench run --held-out-losses does"
            )
        told = losses.summary(found)
        origins = [self.sources.origin(encoder, name) for encoder, name in zip(chosen, names_of(chosen), strict=True)]
        figure = losses.draw(found)
        return self._write("losses", figure, losses.rows(found), {"encoders": told}, origins, _loss_lines(told))

    def attention_distance(self, objects: Objects) -> Written:
        """Measure how far attention reaches, per layer and head."""
        chosen = self.sources.chosen(several=True)
        clouds, located = self.sources.clouds(objects, default=64, spread=False)
        found, rows, origins = {}, [], []
        for encoder, name in zip(chosen, names_of(chosen), strict=True):
            network = self.sources.encoder(encoder)
            found[name] = attention_distance.measure(network, self.sources.points(clouds, encoder))
            rows += [{"encoder": name, **asdict(reach)} for reach in found[name]]
            origins.append(self.sources.origin(encoder, name, located, objects))
        told: dict[str, JsonValue] = {"objects": len(clouds), "clouds": list(clouds.ids)}
        figure = attention_distance.draw(found)
        return self._write("attention-distance", figure, rows, told, origins, _distance_lines(found))

    def attention_maps(self, objects: Objects, wanted: attention_maps.Wanted) -> Written:
        """Draw the attention of tokens on clouds."""
        (encoder,) = self.sources.chosen(several=False)
        (name,) = names_of([encoder])
        network = self.sources.encoder(encoder)
        clouds, located = self.sources.clouds(objects, default=SHOWN, spread=True)
        points = self.sources.points(clouds, encoder)
        found, centres = attention_maps.maps(network, points, wanted)
        rows: list[Row] = [
            {
                "object": clouds.ids[i],
                "class": clouds.classes[clouds.labels[i]],
                "token": one.token,
                "stream": one.stream,
                "layer": one.layer,
                "head": one.head or "mean",
                "patch": patch,
                **dict(zip("xyz", map(float, centres[i, patch]), strict=True)),
                "attention": float(one.weights[i, patch]),
                "share_on_patches": float(one.on_patches[i]),
            }
            for one in found
            for i in range(len(clouds))
            for patch in range(centres.shape[1])
        ]
        figure = attention_maps.draw(name, points, centres, found, _captions(clouds))
        told: dict[str, JsonValue] = {
            "maps": [one.title.replace("\n", ", ") for one in found],
            "objects": list(clouds.ids),
        }
        return self._write(
            "attention-maps", figure, rows, told, [self.sources.origin(encoder, name, located, objects)], ()
        )

    def reconstructions(self, objects: Objects, seed: int) -> Written:
        """Draw masked clouds and the network's reconstructions."""
        (encoder,) = self.sources.chosen(several=False)
        (name,) = names_of([encoder])
        method = METHODS.load(encoder.spec.method)
        network = self.sources.network(encoder)
        clouds, located = self.sources.clouds(objects, default=SHOWN, spread=True)
        points = self.sources.points(clouds, encoder)
        draws = derive(seed, "augmentation", "reconstructions")
        found = reconstructions.reconstruct(network.model, network.given, points, draws, name, views=method.point_views)
        rows: list[Row] = [
            {
                "object": clouds.ids[i],
                "class": clouds.classes[clouds.labels[i]],
                "chamfer_l1": float(found.chamfer_l1[i]),
                "chamfer_l2": float(found.chamfer_l2[i]),
            }
            for i in range(len(clouds))
        ]
        mean = {"chamfer_l1": float(found.chamfer_l1.mean()), "chamfer_l2": float(found.chamfer_l2.mean())}
        blank = {"csc_image", "csc_text", "smc", "total"}
        told: dict[str, JsonValue] = {
            "mean": dict(mean),
            "hidden_share": found.hidden_share,
            "mask_seed": seed,
            "loss_of_the_model": {loss: value for loss, value in found.losses.items() if loss not in blank},
        }
        lines = (
            f"hidden {100 * found.hidden_share:.0f} % of patches; Chamfer distance of what was filled in: "
            f"{mean['chamfer_l1']:.4f} (CDL1), {mean['chamfer_l2']:.5f} (CDL2), mean of {len(clouds)} objects",
        )
        figure = reconstructions.draw(name, found, _captions(clouds))
        origins = [self.sources.origin(encoder, name, located, objects)]
        return self._write("reconstructions", figure, rows, told, origins, lines)

    def embedding(self, objects: Objects, feature: str, seed: int, perplexity: float) -> Written:
        """Lay features out by t-SNE."""
        chosen = self.sources.chosen(several=True)
        clouds, located = self.sources.clouds(objects, default=600, spread=False)
        found, rows, origins = {}, [], []
        for encoder, name in zip(chosen, names_of(chosen), strict=True):
            features = self.sources.features(encoder, clouds, feature)
            one = found[name] = embedding.embed(features, clouds.labels, seed, perplexity)
            origins.append(self.sources.origin(encoder, name, located, objects))
            for i, (x, y) in enumerate(one.plane.tolist()):
                label = clouds.classes[clouds.labels[i]]
                rows.append({"encoder": name, "object": clouds.ids[i], "class": label, "x": x, "y": y})
        told: dict[str, JsonValue] = {
            "feature": feature,
            "objects": len(clouds),
            "seed": seed,
            "encoders": {
                name: {key: value for key, value in vars(one).items() if key != "plane"} for name, one in found.items()
            },
        }
        lines = tuple(
            f"{name}: silhouette {one.silhouette:.3f}, {one.neighbours}-neighbour purity {one.purity:.3f} "
            f"(chance {one.chance:.3f})"
            for name, one in found.items()
        )
        what = f"feature '{feature}' of {len(clouds)} objects of {located.label} ({objects.split})"
        figure = embedding.draw(found, clouds.labels, clouds.classes, what)
        return self._write("embedding", figure, rows, told, origins, lines)

    def _write(
        self,
        kind: str,
        figure: Figure,
        rows: Sequence[Row],
        told: dict[str, JsonValue],
        origins: Sequence[Origin],
        lines: Sequence[str],
    ) -> Written:
        code = fingerprint([f"bench.analysis.{kind.replace('-', '_')}"]).digest
        artefact = Artefact(kind, figure, rows, told, origins, code)
        return Written(write(artefact, self.out), tuple(lines), tuple(dict.fromkeys(self.sources.notes)))


def _captions(clouds: CloudSet) -> list[str]:
    return [clouds.classes[label] for label in clouds.labels]


def _loss_lines(told: Sequence[JsonValue]) -> list[str]:
    """Return a line per encoder and loss term.

    It says where the held-out loss was lowest, and how far it rose since.
    """
    lines = []
    for one in told:
        assert isinstance(one, dict)
        lowest, last, epoch = float(one["held_out_lowest"]), float(one["held_out_last"]), one["epoch_of_lowest"]  # type: ignore[arg-type]
        lines.append(
            f"{one['method']}, {one['variant']}, seed {one['seed']}: held-out {one['term']} lowest {lowest:.4f} after "
            f"epoch {epoch}, {last:.4f} at the end"
        )
    return lines


def _distance_lines(found: Mapping[str, Sequence[attention_distance.Reach]]) -> list[str]:
    """Return a line per encoder and row, over all layers."""
    lines = []
    for name, reaches in found.items():
        for stream, row in dict.fromkeys((reach.stream, reach.row) for reach in reaches):
            own = [reach for reach in reaches if (reach.stream, reach.row) == (stream, row)]
            ends = [
                sum(r.distance for r in own if r.layer == layer) / sum(r.layer == layer for r in own)
                for layer in (own[0].layer, own[-1].layer)
            ]
            lines.append(
                f"{name}: {row} ({stream}) reach {ends[0]:.3f} in the first layer, {ends[1]:.3f} in the last; uniform "
                f"attention {own[0].uniform:.3f}"
            )
    return lines
