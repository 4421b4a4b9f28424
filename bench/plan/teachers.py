"""Choose the teachers of a pretraining."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UsageError
from bench.paths import Workspace
from bench.plan.presets import Preset
from bench.plan.request import RunRequest, validated
from bench.registry import METHODS, TEACHERS
from bench.spec import Recipe, TeacherSpec
from bench.teachers.base import Teacher
from bench.teachers.captions import check_prompts

if TYPE_CHECKING:
    from bench.plan.resolve import Overrides


@dataclass(frozen=True)
class Asked:
    """Needs of a pretraining: image and text features, a transformer.

    And the recipe, whose crops and prompts the teachers see.
    """

    images: bool
    texts: bool
    transformer: bool
    recipe: Recipe

    @property
    def features(self) -> bool:
        """Whether any features are wanted."""
        return self.images or self.texts


@dataclass(frozen=True)
class Teachers:
    """The teachers of a pretraining; None where nothing is asked of one."""

    main: TeacherSpec | None
    """Of images and texts, or of images alone where `text` is given; lends the token transformer."""
    text: TeacherSpec | None
    live: bool
    """Whether they run in every step."""


def choose_teachers(request: RunRequest, preset: Preset, overrides: Overrides, cache: Path, asked: Asked) -> Teachers:
    """Specify the teachers a request names, as far as something is asked of them.

    Args:
        request: Names the teachers.
        preset: Has options of teachers.
        overrides: Options given with ``--set teacher.X`` and ``--set text_teacher.X``.
        cache: Cache folder.
        asked: What the method wants.

    Raises:
        UsageError: A name or an option is wrong, or a teacher cannot give what is asked of it.
        SetupError: A teacher's weights are not on disk.
    """

    def specify(name: str, group: str, images: bool, texts: bool) -> TeacherSpec:
        teacher_class = TEACHERS.load(name)
        values = overrides.merge(dict(preset.teacher.get(name, {})), group)
        teacher = teacher_class(cache, validated(teacher_class.Options, values, group))
        if images and not teacher.image_dim:
            raise UsageError(
                f"teacher '{name}' gives no features of images: choose another with --teacher, and keep it for the "
                f"texts with --text-teacher {name}"
            )
        if texts and not teacher.text_dim:
            raise UsageError(
                f"teacher '{name}' gives no features of texts: name one that does with --text-teacher "
                "(tiny-clip, open-clip or sentence-transformers), or leave the texts out with --captions none"
            )
        options = teacher.portable_options().model_dump(mode="json")
        return TeacherSpec(name=name, options=options, identity=teacher.identity())

    if asked.texts:
        check_prompts(asked.recipe.teacher_prompts)
    apart = request.text_teacher
    main = text = None
    if asked.images or asked.transformer or (asked.texts and apart is None):
        main = specify(request.teacher, "teacher", asked.images, asked.texts and apart is None)
    if apart is not None:
        if asked.texts:
            text = specify(apart, "text_teacher", False, True)
        else:
            TEACHERS.entry(apart)
    return Teachers(main, text, request.live_teacher and asked.features)


def open_teacher(spec: TeacherSpec, workspace: Workspace) -> Teacher:
    """Build the teacher object of a spec."""
    teacher_class = TEACHERS.load(spec.name)
    return teacher_class(workspace.cache, teacher_class.Options.model_validate(spec.options))


def with_transformer(
    name: str, options: dict[str, Any], spec: TeacherSpec | None, workspace: Workspace
) -> dict[str, Any]:
    """Fill in the shape of the teacher's token transformer.

    Args:
        name: Method that builds upon it.
        options: The method's options as they stand.
        spec: The teacher.
        workspace: Where its weights are.

    Raises:
        UsageError: The teacher has no token transformer.
    """
    assert spec is not None
    shape = open_teacher(spec, workspace).transformer_shape()
    if shape is None:
        raise UsageError(
            f"method '{name}' builds upon the teacher's token transformer, and teacher '{spec.name}' has none; "
            "use tiny-clip, timm, open-clip or sentence-transformers"
        )
    method = METHODS.load(name)
    completed: dict[str, Any] = method.complete(method.parse(options), shape).model_dump(mode="json")
    return completed
