"""Specify the protocols of a request, with their settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.chosen import ChosenProtocol
from bench.errors import UsageError, unknown_name
from bench.plan.inputs import Inputs
from bench.plan.located import DataPair
from bench.plan.request import validated
from bench.protocols.trained_options import refuse_other_form
from bench.registry import PROTOCOLS
from bench.spec import ProtocolSpec


@dataclass(frozen=True)
class AskedProtocol:
    """A protocol that is asked for.

    Attributes:
        spec: Its specification.
        chosen: The protocol and its options.
        offered: Settings that it has under these options.
        settings: Settings to run.
    """

    spec: ProtocolSpec
    chosen: ChosenProtocol
    offered: tuple[str, ...]
    settings: tuple[str, ...]

    def split_seeds(self, pair: DataPair, fraction: float, inputs: Inputs) -> tuple[int, ...]:
        """Return the split seeds that make a difference.

        A note says if they change less than folds.

        Args:
            pair: Data that it is carried out on.
            fraction: Part of the labels.
            inputs: The request.
        """
        seeds, name = inputs.request.split_seeds, self.spec.name
        if seeds == (0,):
            return seeds
        split = self.chosen.protocol.describe(self.chosen.options).split
        if fraction == 1 and split is not None and not split.drawn:
            inputs.note(f"{name} draws nothing from the training split: it is judged with split seed 0 alone")
            return (0,)
        if pair.test.folds:
            inputs.note(f"{pair.label}: its folds are fixed; a split seed changes only the validation objects")
        return seeds


def asked_protocols(inputs: Inputs) -> list[AskedProtocol]:
    """Specify the protocols of a request.

    ``all`` leaves out those without the form that is asked for.

    Raises:
        UsageError: An option, a setting or the form is one that a protocol does not have.
    """
    found = []
    for name in inputs.protocols:
        forms = PROTOCOLS.load(name).forms
        if "all" in inputs.request.protocols and inputs.request.form not in forms:
            inputs.note(f"{name} is left out: it has no {inputs.request.form} form, only {', '.join(forms)}")
        else:
            found.append(_asked(inputs, name))
    offered = [setting for one in found for setting in one.offered]
    for setting in inputs.request.settings:
        if setting not in offered:
            raise unknown_name(f"setting of {' or '.join(inputs.protocols)}", setting, offered)
    return found


def _asked(inputs: Inputs, name: str) -> AskedProtocol:
    protocol, request = PROTOCOLS.load(name), inputs.request
    if request.form not in protocol.forms:
        raise UsageError(f"protocol '{name}' has no {request.form} form, only {', '.join(protocol.forms)}")
    defaults = protocol.defaults(inputs.preset.name, request.form).model_dump(mode="json")
    known = frozenset(protocol.Options.model_fields)
    values = inputs.overrides.merge(defaults, "protocol", name, known=known)
    chosen = ChosenProtocol(name, protocol, validated(protocol.Options, values, name))
    refuse_other_form(name, chosen.options, request.form)
    _refuse_idle(inputs, name, protocol.idle(chosen.options))
    offered = protocol.settings(chosen.options)
    spec = ProtocolSpec(
        name=name,
        revision=protocol.revision,
        form=request.form,
        legacy=request.legacy,
        options=chosen.options.model_dump(mode="json"),
    )
    wanted = tuple(setting for setting in offered if setting in request.settings)
    return AskedProtocol(spec, chosen, offered, wanted or offered)


def _refuse_idle(inputs: Inputs, name: str, idle: Mapping[str, str]) -> None:
    """Refuse assignments that would change only the key."""
    groups = (name, "protocol") if len(inputs.protocols) == 1 else (name,)
    for path in inputs.request.overrides:
        group, _, field = path.partition(".")
        why = next((why for one, why in idle.items() if f"{field}.".startswith(f"{one}.")), None)
        if group in groups and why is not None:
            raise UsageError(f"--set {path}: does nothing {why}")
