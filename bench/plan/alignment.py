"""Decide before any job runs which encoders have heads into an image-text space.

The teacher that owns the space is judged beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.paths import Workspace
from bench.plan.encoders import StoredEncoder, encoder_key
from bench.plan.overrides import Overrides
from bench.plan.presets import Preset
from bench.plan.request import RunRequest
from bench.plan.teachers import Asked, choose_teachers, open_teacher
from bench.registry import METHODS
from bench.spec import BackboneSpec, Numerics, PretrainSpec, Recipe, TeacherSpec
from bench.training.aligned import stored_widths


@dataclass(frozen=True)
class Reach:
    """Spaces that an encoder's heads reach.

    Attributes:
        encoder: Its specification, with a teacher where imported weights were given one.
        pictures: Whether the space shared with texts holds pictures too.
        unaligned: Why there is no such space; empty where there is.
    """

    encoder: PretrainSpec
    pictures: bool = False
    unaligned: str = ""


@dataclass(frozen=True)
class Aligning:
    """Finds out where encoders' heads lead.

    Attributes:
        request: Names the teacher of imported encoders.
        preset: Has options of teachers.
        overrides: Options given with ``--set``.
        workspace: Where teachers' weights are.
        stored: Encoders of the results folder that were asked for.
    """

    request: RunRequest
    preset: Preset
    overrides: Overrides
    workspace: Workspace
    stored: list[StoredEncoder]

    def reach(self, encoder: PretrainSpec) -> Reach:
        """Find out where an encoder's heads lead.

        A head into the space of a teacher's pictures leads to texts only where the same teacher knows both.
        """
        method = METHODS.load(encoder.method)
        if not method.has_encoder:
            return Reach(encoder, pictures=True)
        if encoder.imported is not None:
            return self._imported(encoder)
        if encoder.recipe is None:
            return Reach(encoder, unaligned="nothing was trained")
        spaces = method.aligned(method.parse(encoder.options))
        if not spaces:
            return Reach(encoder, unaligned="it has no head into the space of a teacher")
        joint = encoder.text_teacher is None and self._joint(encoder.teacher)
        if ("text" in spaces and encoder.captions != "none") or ("image" in spaces and joint):
            return Reach(encoder, pictures=joint)
        why = "its pretraining saw no captions"
        if "image" in spaces and encoder.teacher is not None:
            why += f", and its image teacher '{encoder.teacher.name}' shares no space with texts"
        return Reach(encoder, unaligned=why)

    def teacher(self, *, images: bool = True) -> TeacherSpec:
        """Specify the teacher that the request names, for prompts and pictures.

        Raises:
            UsageError: It knows no texts, or no pictures where they are asked for.
            SetupError: Its weights are not on disk.
        """
        asked = Asked(images=images, texts=True, transformer=False, recipe=Recipe())
        alone = self.request.model_copy(update={"text_teacher": None})
        teacher = choose_teachers(alone, self.preset, self.overrides, self.workspace.cache, asked).main
        assert teacher is not None
        return teacher

    def _imported(self, encoder: PretrainSpec) -> Reach:
        """Imported weights know no teacher: the request's is taken, where its space is as wide as the heads reach."""
        key = encoder_key(encoder)
        folder = next((found.folder for found in self.stored if found.key == key), None)
        widths: Mapping[str, int] = stored_widths(folder) if folder is not None else {}
        if not widths:
            return Reach(encoder, unaligned="no projection heads were imported with it")
        spec = self.teacher(images=False)
        teacher = open_teacher(spec, self.workspace)
        joint = self._joint(spec)
        fitting = {space for space, width in widths.items() if width == teacher.text_dim and (space == "text" or joint)}
        if not fitting:
            reached = " and ".join(f"{width}" for width in dict.fromkeys(widths.values()))
            why = f"its heads reach spaces of {reached} numbers and teacher '{spec.name}' has {teacher.text_dim}: name "
            return Reach(encoder, unaligned=f"{why}the one it was trained with, --teacher NAME")
        return Reach(encoder.model_copy(update={"teacher": spec}), pictures=joint)

    def _joint(self, spec: TeacherSpec | None) -> bool:
        if spec is None:
            return False
        teacher = open_teacher(spec, self.workspace)
        return 0 < teacher.image_dim == teacher.text_dim


def teacher_alone(
    name: str, options: Mapping[str, Any], backbone: BackboneSpec, teacher: TeacherSpec, numerics: Numerics, seed: int
) -> PretrainSpec:
    """Specify a method that is its teacher alone, beside encoders of a backbone."""
    return PretrainSpec(
        method=name,
        options=dict(options),
        backbone=backbone,
        recipe=None,
        data=None,
        teacher=teacher,
        numerics=numerics,
        seed=seed,
    )
