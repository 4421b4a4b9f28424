"""Find encoders stored in a results folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue, ValidationError

from bench.errors import UsageError, unknown_name
from bench.plan.request import RunRequest
from bench.spec import Numerics, PretrainSpec, content_key
from bench.store.artifacts import ArtifactStore

ANY_MACHINE = Numerics(precision="fp32", compile=False, device="cpu", op_backend="any", torch="any")
"""Numerics stored with imported weights, which were computed elsewhere."""
_SHORTEST = 4
"""Least number of a key's characters that may name an encoder."""


@dataclass(frozen=True)
class StoredEncoder:
    """A stored encoder.

    Attributes:
        spec: Its specification.
        key: Its key, see `encoder_key`.
        name: Name it was imported under; empty for one trained here.
        folder: Its folder.
        created_at: When it was stored, UTC, ISO 8601.
        trained_on: Pretraining data, as the user named it.
    """

    spec: PretrainSpec
    key: str
    name: str
    folder: Path
    created_at: str
    trained_on: str

    @property
    def shown(self) -> str:
        """Name, or the beginning of the key."""
        return self.name or self.key[:12]


def encoder_key(spec: PretrainSpec) -> str:
    """Return the key an encoder is stored under.

    Imported weights are the same on every machine, in every seed of the evaluation, and whichever teacher's prompts
    they are compared with.
    """
    if spec.imported is not None:
        spec = spec.model_copy(update={"numerics": ANY_MACHINE, "seed": 0, "teacher": None})
    return content_key(spec)


def stored_encoders(results: Path, *, digests: bool = False) -> list[StoredEncoder]:
    """List stored encoders: imported first, then oldest first.

    Nothing is changed. Damaged ones are named and left out: those with missing or cut files, with `digests` those with
    any altered byte.
    """
    store = ArtifactStore(results, readonly=True)
    found = (_read(store, folder) for folder in store.list_folders("encoder", digests=digests))
    return sorted(filter(None, found), key=lambda encoder: (not encoder.name, encoder.name, encoder.created_at))


def find_encoder(results: Path, text: str) -> StoredEncoder:
    """Find an encoder by imported name or beginning of key.

    Raises:
        UsageError: None fits, or several do.
    """
    known = stored_encoders(results)
    named = [encoder for encoder in known if encoder.name == text]
    fitting = named or [encoder for encoder in known if len(text) >= _SHORTEST and encoder.key.startswith(text)]
    if not known:
        raise UsageError(f"no encoder '{text}': none is stored yet; bench import FILE reads one, bench run trains some")
    if not fitting:
        error = unknown_name("encoder", text, [encoder.shown for encoder in known])
        raise UsageError(f"{error}; bench encoders lists them")
    if len({encoder.key for encoder in fitting}) > 1:
        shown = " and ".join(sorted({encoder.key[:12] for encoder in fitting})[:3])
        raise UsageError(f"'{text}' fits {len(fitting)} encoders ({shown}); give more characters")
    return max(fitting, key=lambda encoder: encoder.created_at)


def as_evaluated(
    found: StoredEncoder, request: RunRequest, here: Numerics, note: Callable[[str], None]
) -> tuple[PretrainSpec, int, tuple[int, ...]]:
    """Return a stored encoder's spec for a run, and seeds.

    The seeds are that of the run, and those of `scratch` beside it.

    An encoder trained here keeps its specification and seed. Imported weights take the numerics of this machine.
    They are one pretraining, which is the unit of every statistic: runs that differ in the protocol's draws alone
    would give an interval that says nothing about the method, so there is one.

    Args:
        found: The encoder.
        request: The user's request.
        here: Numerics of this machine.
        note: Receives what is worth saying.

    Raises:
        SetupError: It was trained on a GPU and there is none.
    """
    spec = found.spec
    if spec.imported is not None:
        if len(request.seeds) > 1:
            note(f"{found.shown} is one pretraining, so it is judged with one seed, {request.seeds[0]}")
        return spec.model_copy(update={"numerics": here}), request.seeds[0], request.seeds
    from bench.training.precision import resolve_device

    resolve_device(spec.numerics.device)
    if request.device not in ("auto", spec.numerics.device):
        note(f"{found.shown} was trained on {spec.numerics.device} and is evaluated there")
    if here.threads != spec.numerics.threads:
        note(f"{found.shown} was trained with {spec.numerics.job_threads} thread(s) and is evaluated with as many")
    return spec, spec.seed, (spec.seed,)


def _read(store: ArtifactStore, folder: Path) -> StoredEncoder | None:
    """Read a stored encoder; None if its format is unknown."""
    try:
        spec = PretrainSpec.model_validate(_json(folder / "spec.json"))
        provenance = _json(folder / "provenance.json")
    except (OSError, ValueError, ValidationError):
        return None
    facts = provenance if isinstance(provenance, dict) else {}
    data = spec.data.name if spec.data is not None else "elsewhere"
    return StoredEncoder(
        spec=spec,
        key=folder.parent.name,
        name=str(facts.get("name", "")) if spec.imported is not None else "",
        folder=folder,
        created_at=store.manifest(folder).created_at,
        trained_on=str(facts.get("trained_on", data)),
    )


def _json(path: Path) -> JsonValue:
    value: JsonValue = json.loads(path.read_text(encoding="utf-8"))
    return value
