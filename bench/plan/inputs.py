"""Inputs for resolving a request: preset, assignments, folders."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bench.chosen import ChosenMethod
from bench.paths import Workspace
from bench.plan.overrides import Overrides
from bench.plan.presets import Preset, preset
from bench.plan.request import RunRequest, validated
from bench.registry import ENCODERS, METHODS, PROTOCOLS

_GROUPS = frozenset(
    {
        "backbone",
        "recipe",
        "first_recipe",
        "method",
        "protocol",
        "data",
        "pretrain_data",
        "teacher",
        "text_teacher",
        "numerics",
        "ranks",
    }
)
"""Groups of ``--set`` besides the names of methods, encoders and protocols."""


@dataclass
class Inputs:
    """A request, and notes on decisions made while resolving it.

    Attributes:
        request: The user's request.
        workspace: Results and cache folder.
        preset: Sizes by default.
        overrides: Assignments of ``--set``; each step takes those of its own fields.
        methods: Names, ``all`` spelt out.
        protocols: Names, ``all`` spelt out.
        notes: Decisions, one line each.
        opened: Data sets that were located, for the other points of a grid.
    """

    request: RunRequest
    workspace: Workspace
    preset: Preset
    overrides: Overrides
    methods: tuple[str, ...]
    protocols: tuple[str, ...]
    notes: list[str] = field(default_factory=list)
    opened: dict[str, Any] = field(default_factory=dict)
    _chosen: dict[str, ChosenMethod] = field(default_factory=dict)

    @property
    def pretrained(self) -> list[str]:
        """Names of the methods that pretrain an encoder."""
        return [name for name in self.methods if name != "scratch" and METHODS.load(name).has_encoder]

    def note(self, line: str) -> None:
        """Note a decision, once."""
        if line not in self.notes:
            self.notes.append(line)

    def method(self, name: str) -> ChosenMethod:
        """Return a method with preset options, user options on top.

        Raises:
            UsageError: An option is unknown or has a wrong value.
        """
        if name not in self._chosen:
            method = METHODS.load(name)
            known = frozenset(method.Options.model_fields)
            shipped = method.defaults(self.preset.name).model_dump(mode="json")
            values = self.overrides.merge(shipped, "method", name, known=known)
            self._chosen[name] = ChosenMethod(name, method, validated(method.Options, values, name))
        return self._chosen[name]


def read_inputs(request: RunRequest, workspace: Workspace, opened: dict[str, Any] | None = None) -> Inputs:
    """Look up the names of a request.

    Args:
        request: The user's request.
        workspace: Results and cache folder.
        opened: Data sets that were located for other points of a grid.

    Raises:
        UsageError: A preset, method, protocol or group of ``--set`` is unknown.
    """
    request.check_names()
    return Inputs(
        request=request,
        workspace=workspace,
        preset=preset(request.preset),
        overrides=Overrides(request.overrides, _GROUPS | {*METHODS.names(), *ENCODERS.names(), *PROTOCOLS.names()}),
        methods=_spelt_out(request.methods, METHODS.standalone()),
        protocols=_spelt_out(request.protocols, PROTOCOLS.standalone()),
        opened={} if opened is None else opened,
    )


def _spelt_out(names: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    named = [n for name in names for n in (known if name == "all" else (name,))]
    return tuple(dict.fromkeys(named))
