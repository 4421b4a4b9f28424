"""Find, open and specify the data sets of a request."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.data.base import DataPlace, Dataset
from bench.data.reading_progress import progress_on_stderr
from bench.data.transfer import FEWEST, CommonClasses, common_classes
from bench.errors import UsageError
from bench.paths import Workspace
from bench.plan.inputs import Inputs
from bench.plan.overrides import Overrides
from bench.plan.presets import Preset
from bench.plan.request import validated
from bench.registry import DATASETS, PROTOCOLS
from bench.spec import DataSpec


@dataclass(frozen=True)
class Located:
    """A data set's spec and its location.

    The location is in no key.
    """

    spec: DataSpec
    label: str
    root: Path | None
    objects: int = 0
    """Size of the training split."""
    images: bool = False
    """Whether it comes with images."""
    parts: bool = False
    """Whether parts of its objects are labelled."""
    folds: bool = False
    """Whether it consists of few-shot folds."""


@dataclass(frozen=True)
class DataPair:
    """Test data of a protocol, and training data if different.

    Attributes:
        test: Data set tested on.
        train: Data set trained on where it is another one; None for the same.
    """

    test: Located
    train: Located | None = None

    @property
    def label(self) -> str:
        """Name in tables, e.g. ``shapes-cad > shapes-scan``."""
        return self.test.label if self.train is None else f"{self.train.label} > {self.test.label}"

    def common(self, workspace: Workspace) -> CommonClasses:
        """Return the classes that both sets have."""
        assert self.train is not None
        names = [open_dataset(located, workspace).classes() for located in (self.train, self.test)]
        return common_classes(*names)

    def skip(self, workspace: Workspace, protocol: str, labels: float = 1.0) -> str | None:
        """Return why a protocol cannot use this data, or None."""
        loaded = PROTOCOLS.load(protocol)
        if self.test.folds and not loaded.given_folds:
            return "the data set consists of few-shot folds"
        if labels < 1 and not loaded.labels:
            return f"{protocol} trains on no labels, of which a part could be left out"
        if labels < 1 and self.test.folds:
            return "few-shot folds have their own supports, of which none can be left out"
        if labels < 1 and DATASETS.load(self.test.spec.name).card.has_rooms:
            return "a part of the labels is a part of the labelled objects, and these are rooms"
        if self.train is None:
            return None
        for located in (self.train, self.test):
            card = DATASETS.load(located.spec.name).card
            if card.has_rooms:
                return f"{located.label} has rooms and no labelled objects whose classes could be matched"
        if self.train.folds or self.test.folds:
            return "few-shot folds have their own supports and queries"
        if loaded.no_transfer:
            return f"{protocol} {loaded.no_transfer}"
        common = self.common(workspace)
        if len(common.names) < FEWEST:
            return f"{common.describe()}: at least {FEWEST} are needed"
        return None


def data_pairs(inputs: Inputs) -> list[DataPair]:
    """Find test data, and training data if different.

    Raises:
        UsageError: A name, an option or a folder is wrong.
        DataError: Files are broken.
    """

    request = inputs.request

    def found(reference: str) -> Located:
        return locate(reference, "data", inputs.preset, inputs.overrides, inputs.workspace, inputs.opened)

    tested = [found(reference) for reference in dict.fromkeys(request.datasets)]
    if not request.transfer and request.train_on is None:
        return [DataPair(located) for located in tested]
    trained = tested if request.train_on is None else [found(request.train_on)]
    return [DataPair(test, None if test.spec == train.spec else train) for train in trained for test in tested]


def superfluous_folder(name: str) -> UsageError:
    """Build the error for a folder given to generated data."""
    own = "" if DATASETS.entry(name).source == "built in" else "; if it reads files, its class says needs_root = True"
    return UsageError(f"data set '{name}' is embedded and takes no folder; write just {name}{own}")


def locate(
    reference: str,
    group: str,
    preset: Preset,
    overrides: Overrides,
    workspace: Workspace,
    opened: dict[str, Located] | None = None,
) -> Located:
    """Find a data set that a request names.

    Args:
        reference: ``NAME[:ROOT]``.
        group: Group of ``--set`` its options are in: ``data`` or ``pretrain_data``.
        preset: Has options of embedded data sets.
        overrides: Options given with ``--set``.
        workspace: Knows the user's own names.
        opened: Data sets that were located already, of which the same one is returned again.

    Raises:
        UsageError: The name or an option is wrong, or the folder is missing or superfluous.
        DataError: Its files are broken.
    """
    from bench.data.local import resolve_dataset_ref

    found = resolve_dataset_ref(reference, workspace.results, DATASETS.names())
    dataset_class = DATASETS.load(found.format)
    if dataset_class.needs_root and found.root is None:
        raise UsageError(
            f"data set '{found.format}' needs its folder: write {found.format}:DIR, "
            f"or name one with bench data add NAME --format {found.format} --root DIR"
        )
    if found.root is not None and not dataset_class.needs_root:
        raise superfluous_folder(found.format)
    known = frozenset(dataset_class.Options.model_fields)
    values = {**preset.data.get(found.format, {}), **found.options}
    options = validated(dataset_class.Options, overrides.merge(values, group, known=known), group)
    name = f"{reference} {options.model_dump_json()}"
    if opened is not None and name in opened:
        return opened[name]
    dataset = dataset_class(DataPlace(workspace.cache, found.root, progress=progress_on_stderr(found.label)), options)
    spec = DataSpec(name=found.format, options=options.model_dump(mode="json"), manifest=dataset.manifest())
    if dataset_class.needs_root:  # every value is checked: better now than after hours of pretraining
        if dataset_class.card.has_rooms:
            dataset.rooms()
        else:
            dataset.load("train")
            dataset.load("test")
    located = Located(
        spec=spec,
        label=found.label,
        root=found.root,
        objects=dataset.train_size(),
        images=dataset.offers_images(),
        parts=dataset.offers_parts(),
        folds=dataset.offers_folds(),
    )
    if opened is not None:
        opened[name] = located
    return located


def open_dataset(located: Located, workspace: Workspace) -> Dataset:
    """Build the data set object of a located spec."""
    dataset_class = DATASETS.load(located.spec.name)
    options = dataset_class.Options.model_validate(located.spec.options)
    return dataset_class(DataPlace(workspace.cache, located.root), options)
