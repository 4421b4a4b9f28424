"""Checks of a method's encoder: shapes, independence, weights."""

from __future__ import annotations

import torch
from safetensors.torch import save_file
from torch import Tensor

from bench.conformance.checks import Checks, fail, listed
from bench.conformance.method_kit import CLASSES, MethodKit
from bench.conformance.method_training import TRAINING
from bench.methods.weights import load_encoder
from bench.models.classifier import Classifier
from bench.models.encoder import Encoder, EncoderOutput
from bench.models.frozen import FrozenWatch
from bench.seeds import seed_torch
from bench.spec import Numerics, PretrainSpec
from bench.store.scratch import temporary_folder

METHOD_CHECKS: Checks[MethodKit] = Checks(TRAINING)
"""All checks of a method."""

_CLOSE = 1e-4
"""Difference, relative to the largest value, that other company in a batch may make (rounding)."""


@torch.no_grad()
def _encode(encoder: Encoder, points: Tensor) -> dict[str, Tensor]:
    """Return every feature of clouds by name."""
    return dict(encoder.features(encoder(points)))


@METHOD_CHECKS.add("encoder shapes", "builds")
def shapes(kit: MethodKit) -> str:
    """Tokens, centres and features have the promised shapes."""
    encoder = kit.encoder().eval()
    for name in ("transfer", "svm"):
        if name not in encoder.feature_dims:
            fail(f"the encoder's feature_dims lack '{name}': every encoder offers 'transfer' and 'svm'")
    if untold := sorted(encoder.feature_dims.keys() - encoder.feature_descriptions.keys()):
        fail(f"the encoder's feature_descriptions say nothing about {listed(untold)}")
    for batch in (1, 3, kit.batch_size):
        with torch.no_grad():
            output = encoder(kit.clouds(count=batch))
            features = encoder.features(output)
        _check_output(kit, output, batch)
        if missing := sorted(encoder.feature_dims.keys() ^ features.keys()):
            fail(f"features() and feature_dims do not name the same features: {listed(missing)}")
        for name, width in encoder.feature_dims.items():
            _check_tensor(f"feature '{name}'", features[name], (batch, width))
    return ", ".join(f"{name} {width}" for name, width in encoder.feature_dims.items())


def _check_output(kit: MethodKit, output: object, batch: int) -> None:
    if not isinstance(output, EncoderOutput):
        fail(f"the encoder returns a {type(output).__name__}, expected an EncoderOutput")
    if output.centres.ndim != 3 or output.tokens.ndim != 3:
        fail(
            f"tokens {tuple(output.tokens.shape)} and centres {tuple(output.centres.shape)}: expected [B, G, C] and "
            "[B, G, 3]"
        )
    patches = output.centres.shape[1]
    _check_tensor("centres", output.centres, (batch, patches, 3))
    _check_tensor("tokens", output.tokens, (batch, patches, output.tokens.shape[-1]))
    for name, value in output.globals.items():
        _check_tensor(f"global feature '{name}'", value, (batch, value.shape[-1]))


def _check_tensor(what: str, value: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(value.shape) != shape:
        fail(f"{what} has shape {list(value.shape)} for {shape[0]} clouds, expected {list(shape)}")
    if value.dtype != torch.float32:
        fail(f"{what} is {str(value.dtype).removeprefix('torch.')}, expected float32")
    if not bool(value.isfinite().all()):
        fail(f"{what} is not finite")


@METHOD_CHECKS.add("encoder repeats", "encoder shapes")
def repeats(kit: MethodKit) -> str:
    """The same clouds give bitwise the same features in evaluation."""
    encoder, points = kit.encoder().eval(), kit.clouds()
    found = []
    for seed in (1, 2):
        seed_torch(seed)
        found.append(_encode(encoder, points))
    if differing := [name for name, value in found[0].items() if not torch.equal(value, found[1][name])]:
        fail(
            f"feature {listed(differing)} changes from call to call in evaluation mode: something is drawn or updated "
            "in forward()"
        )
    return "bitwise"


@METHOD_CHECKS.add("encoder objects", "encoder repeats")
def objects(kit: MethodKit) -> str:
    """An object's features do not depend on its batch."""
    encoder, points = kit.encoder().eval(), kit.clouds()
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(0)).roll(1)
    whole = _encode(encoder, points)
    moved = _encode(encoder, points[order])
    alone = _encode(encoder, points[:1])
    worst = 0.0
    for name, value in whole.items():
        if bool((value == value[:1]).all()):
            fail(f"feature '{name}' is the same for {len(value)} different clouds")
        scale = max(float(value.abs().max()), 1e-6)
        place = float((moved[name] - value[order]).abs().max()) / scale
        company = float((alone[name] - value[:1]).abs().max()) / scale
        if not place <= _CLOSE:
            fail(f"feature '{name}' does not move with its object: a permuted batch differs by {place:.2g} (relative)")
        if not company <= _CLOSE:
            fail(f"feature '{name}' of an object depends on the others in its batch: {company:.2g} (relative)")
        worst = max(worst, place, company)
    return f"largest relative difference {worst:.1g}"


@METHOD_CHECKS.add("encoder points", "encoder shapes")
def points(kit: MethodKit) -> str:
    """Clouds may have more or fewer points than in pretraining."""
    encoder = kit.encoder().eval()
    fewest = max(kit.size.groups, kit.size.group_size)
    counts = (fewest, 2 * kit.size.points)
    for count in counts:
        for name, value in _encode(encoder, kit.clouds(points=count)).items():
            _check_tensor(f"feature '{name}' at {count} points", value, (kit.batch_size, encoder.feature_dims[name]))
    return f"{counts[0]} and {counts[1]} points"


@METHOD_CHECKS.add("freeze", "encoder repeats")
def freeze(kit: MethodKit) -> str:
    """A frozen-feature protocol changes no weight or BatchNorm buffer."""
    classifier = Classifier(kit.encoder(), CLASSES).freeze().train()
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    optimiser = torch.optim.AdamW([p for p in classifier.parameters() if p.requires_grad], lr=0.1)
    labels = torch.arange(kit.batch_size) % CLASSES
    for step in range(2):
        torch.nn.functional.cross_entropy(classifier(kit.clouds(step)), labels).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    after = classifier.state_dict()
    changed = [name for name, value in before.items() if not torch.equal(value, after[name])]
    if moved := [name for name in changed if name.startswith("encoder.")]:
        fail(
            f"a step of a frozen classifier changes {listed(moved)}: forward() must update nothing in evaluation "
            "mode, and eval() must reach every part"
        )
    if not changed:
        fail("a step of a frozen classifier changes nothing, not even the head")
    encoder = kit.encoder()
    FrozenWatch(encoder, "the encoder").twice(lambda clouds: encoder.features(encoder(clouds)), kit.clouds())
    return f"{sum(name.startswith('encoder.') for name in before)} tensors unchanged"


@METHOD_CHECKS.add("checkpoint", "encoder repeats", "finite")
def checkpoint(kit: MethodKit) -> str:
    """The stored encoder, rebuilt from options alone, gives identical features."""
    model = kit.model()
    for _ in kit.train(model, kit.batches(3)):
        pass
    trained = model.eval().encoder()
    spec = PretrainSpec(
        method=kit.method.name,
        options=kit.resolved.model_dump(mode="json"),
        backbone=kit.size,
        recipe=None,
        data=None,
        numerics=Numerics(precision="fp32", compile=False, device="cpu", op_backend="torch", torch=""),
        seed=0,
    )
    with temporary_folder() as folder:
        tensors = {key: value.detach().contiguous() for key, value in trained.state_dict().items()}
        save_file(tensors, folder / "encoder.safetensors")
        restored = load_encoder(folder, kit.method, spec).eval()
    clouds = kit.clouds()
    expected, found = _encode(trained, clouds), _encode(restored, clouds)
    if differing := [name for name, value in expected.items() if not torch.equal(value, found.get(name, value[:0]))]:
        fail(
            f"feature {listed(differing)} differs after storing and rebuilding: some state is no parameter and no "
            "registered buffer, or build_encoder() builds something else"
        )
    return "identical features"
