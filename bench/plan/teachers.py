"""Choose the teachers of a pretraining."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.chosen import ChosenMethod
from bench.errors import UsageError
from bench.paths import Workspace
from bench.plan.inputs import Inputs
from bench.plan.request import validated
from bench.registry import TEACHERS
from bench.spec import TeacherSpec
from bench.teachers.base import Space, Teacher, no_tower
from bench.teachers.captions import check_prompts


@dataclass(frozen=True)
class Asked:
    """Needs of a pretraining that its teachers must meet.

    Attributes:
        images: Whether it wants features of images.
        texts: Whether it wants features of texts.
        transformer: Whether it builds upon a token transformer.
        towers: Whether it trains the teachers along.
        prompts: Prompt templates around each caption.
        text_teacher: Teacher of texts; None: one teacher gives both.
    """

    images: bool
    texts: bool
    transformer: bool = False
    towers: bool = False
    prompts: int = 0
    text_teacher: str | None = None


@dataclass(frozen=True)
class Teachers:
    """Teachers of a pretraining; None where none is needed."""

    main: TeacherSpec | None
    """Of images and texts, or of images alone where `text` is given; lends the token transformer."""
    text: TeacherSpec | None
    live: bool
    """Whether they run in every step."""


def choose_teachers(inputs: Inputs, asked: Asked) -> Teachers:
    """Specify the request's teachers that the pretraining needs.

    Raises:
        UsageError: A name or an option is wrong, or a teacher cannot give what is asked of it.
        SetupError: A teacher's weights are not on disk.
    """
    request, apart = inputs.request, asked.text_teacher
    if asked.texts:
        check_prompts(asked.prompts)
    main = text = None
    texts = asked.texts and apart is None
    if asked.images or asked.transformer or texts:
        main = _specify(inputs, request.teacher, "teacher", asked, images=asked.images, texts=texts)
    if apart is not None:
        if asked.texts:
            text = _specify(inputs, apart, "text_teacher", asked, images=False, texts=True)
        else:
            TEACHERS.entry(apart)
    live = request.live_teacher and (asked.images or asked.texts) and not asked.towers
    return Teachers(main, text, live)


def joint_teacher(inputs: Inputs, *, images: bool = True) -> TeacherSpec:
    """Specify the one teacher for prompts and, if asked, images.

    Raises:
        UsageError: It knows no texts, or no pictures where they are asked for.
        SetupError: Its weights are not on disk.
    """
    teacher = choose_teachers(inputs, Asked(images=images, texts=True)).main
    assert teacher is not None
    return teacher


def _specify(inputs: Inputs, name: str, group: str, asked: Asked, *, images: bool, texts: bool) -> TeacherSpec:
    teacher_class = TEACHERS.load(name)
    values = inputs.overrides.merge(dict(inputs.preset.teacher.get(name, {})), group)
    teacher = teacher_class(inputs.workspace.cache, validated(teacher_class.Options, values, group))
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
    if asked.towers:
        spaces: dict[Space, bool] = {"image": images, "text": texts}
        for space in (space for space, wanted in spaces.items() if wanted and space not in teacher.towers):
            raise no_tower(name, space)
    options = teacher.portable_options().model_dump(mode="json")
    return TeacherSpec(name=name, options=options, identity=teacher.identity())


def open_teacher(spec: TeacherSpec, workspace: Workspace) -> Teacher:
    """Build the teacher object of a spec."""
    teacher_class = TEACHERS.load(spec.name)
    return teacher_class(workspace.cache, teacher_class.Options.model_validate(spec.options))


def with_transformer(chosen: ChosenMethod, spec: TeacherSpec, workspace: Workspace) -> ChosenMethod:
    """Add the shape of the teacher's transformer to the options.

    Args:
        chosen: Method that builds upon it.
        spec: The teacher.
        workspace: Workspace with its weights.

    Raises:
        UsageError: The teacher has no token transformer.
    """
    shape = open_teacher(spec, workspace).transformer_shape()
    if shape is None:
        raise UsageError(
            f"method '{chosen.name}' builds upon the teacher's token transformer, and teacher '{spec.name}' has none; "
            "use tiny-clip, timm, open-clip or sentence-transformers"
        )
    return replace(chosen, options=chosen.method.complete(chosen.options, shape))
