"""Names of runs and encoders in tables and titles."""

from __future__ import annotations

from bench.plan.encoders import StoredEncoder, encoder_key
from bench.plan.resolve import Resolution
from bench.plan.untrained import architecture_name
from bench.spec import PretrainSpec, RunSpec
from bench.stats.naming import labelled_suffix, percent, pretrained_suffix, turned_suffix


def method_label(encoder: PretrainSpec, name: str = "") -> str:
    """Return a method's name for tables.

    scratch is named with its architecture, imported weights with their name, brought encoders with their file.
    """
    beside = str(encoder.options["architecture"]) if encoder.method == "scratch" else name
    return f"{encoder.method} ({beside})" if beside else encoder.method


def run_label(spec: RunSpec, resolution: Resolution) -> dict[str, str]:
    """Return a run's names for tables.

    Labels of data sets and encoders are the user's and in no key.
    """
    encoder, places = spec.encoder, resolution.places
    stored = _stored(encoder, resolution)
    scratch = encoder.method == "scratch"
    pretrain_data = stored.trained_on if stored is not None else "none" if encoder.imported is None else "elsewhere"
    if encoder.data is not None and encoder.data.manifest in places:
        pretrain_data = places[encoder.data.manifest].label
    if encoder.fraction < 1:
        pretrain_data += pretrained_suffix(encoder.fraction, encoder.budget)
    dataset, sets = places[spec.data.manifest].label, {}
    if spec.train_data is not None:
        sets = {"trained_on": places[spec.train_data.manifest].label, "tested_on": dataset}
        dataset = f"{sets['trained_on']} > {dataset}"
    return {
        "method": encoder.method if scratch else method_label(encoder, _name(encoder, resolution)),
        "architecture": architecture_name(encoder, spec.protocol.form),
        "protocol": spec.protocol.name,
        "form": spec.protocol.form,
        "setting": f"{spec.setting}{labelled_suffix(spec.label_fraction)}{turned_suffix(spec.protocol.rotation)}",
        "dataset": dataset,
        "pretrain_data": pretrain_data,
        "preset": spec.preset,
        **sets,
    }


def encoder_title(encoder: PretrainSpec, resolution: Resolution | None = None) -> str:
    """Return an encoder's name for job titles."""
    label = method_label(encoder, _name(encoder, resolution) if resolution is not None else "")
    part = f" on {percent(encoder.fraction)}" if encoder.fraction < 1 else ""
    at = f" after {percent(encoder.at)}" if encoder.at < 1 else ""
    return label if encoder.imported is not None else f"{label}{part} seed {encoder.seed}{at}"


def kept_title(shares: tuple[float, ...]) -> str:
    """Return the shares at which a pretraining keeps encoders.

    Empty for its end alone.
    """
    return "" if shares == (1.0,) else f", kept after {', '.join(map(percent, shares))}"


def _name(encoder: PretrainSpec, resolution: Resolution) -> str:
    """Return the name of imported weights, or of a brought encoder's file; empty for others."""
    brought = resolution.brought.get(str(encoder.imported))
    stored = _stored(encoder, resolution)
    return brought.label if brought is not None else stored.name if stored is not None else ""


def _stored(encoder: PretrainSpec, resolution: Resolution) -> StoredEncoder | None:
    key = encoder_key(encoder) if resolution.stored else ""
    return next((found for found in resolution.stored if found.key == key), None)
