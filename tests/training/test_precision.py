"""What is lost if these fail: a key would not say what the machine really did, or a wrong setting would be guessed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from bench.errors import SetupError, UsageError
from bench.training.precision import autocast, compile_pays, cpu_has_bf16, has_compiler, resolve_numerics


def test_everything_is_resolved() -> None:
    resolved = resolve_numerics("cpu", op_backend="torch", plugins={"method.mine": "1.2"})
    assert resolved.precision == ("bf16" if cpu_has_bf16() else "fp32")
    assert resolved.compile is False, "with the number of samples unknown, compiling is not worth a guess"
    assert (resolved.device, resolved.op_backend, resolved.plugins) == ("cpu", "torch", {"method.mine": "1.2"})
    assert torch.__version__.startswith(resolved.torch + ".")
    assert resolved.torch.count(".") == 1


def test_auto_device_is_what_the_machine_has() -> None:
    assert resolve_numerics().device == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model name : x\nflags\t\t: fpu avx512f avx512_bf16\n", True),
        ("flags : fpu avx2 avx512f\n", False),
        ("Features\t: fp asimd bf16\n", True),
        ("Features : fp asimd\n", False),
        ("", False),
    ],
)
def test_bf16_is_read_from_the_processor_flags(text: str, expected: bool, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert cpu_has_bf16(tmp_path / "cpuinfo") is expected
    assert cpu_has_bf16(tmp_path / "absent") is False


@pytest.mark.parametrize(("generation", "expected"), [(7, "fp32"), (8, "bf16"), (9, "bf16")])
def test_bf16_is_for_gpus_that_multiply_it(generation: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Older GPUs emulate bf16: a run would be slower, and its numbers those of another precision."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(major=generation))
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda _: True)
    resolved = resolve_numerics("auto", compile=False)
    assert (resolved.device, resolved.precision) == ("cuda", expected)
    assert resolve_numerics("cuda", "fp32", compile=False).precision == "fp32"


def test_compilation_is_for_long_runs_with_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = tmp_path / "some-c++"
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    assert compile_pays("cpu", 15_000_000), "measured: a published recipe wins hours by it"
    assert not compile_pays("cpu", 120_000), "measured: a nano run ends before the warm-up has paid"
    assert not compile_pays("cuda", 10_000)
    assert resolve_numerics("cpu", samples=15_000_000).compile is True
    assert resolve_numerics("cpu", samples=120_000).compile is False
    assert resolve_numerics("cpu", compile=True).compile is True
    assert resolve_numerics("cpu", compile=False, samples=1_000_000).compile is False
    monkeypatch.setenv("CXX", str(tmp_path / "absent"))
    assert not has_compiler("cpu")
    assert resolve_numerics("cpu", samples=15_000_000).compile is False
    with pytest.raises(SetupError, match=r"no C\+\+ compiler on PATH.*numerics.compile=false"):
        resolve_numerics("cpu", compile=True)


@pytest.mark.parametrize(
    ("field", "arguments"),
    [("device", {"device": "tpu"}), ("precision", {"precision": "fp16"}), ("compile", {"compile": "maybe"})],
)
def test_a_wrong_value_gives_one_line(field: str, arguments: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=f"numerics.{field} is '.*': expected") as error:
        resolve_numerics(**arguments)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_that_is_not_there_gives_one_line() -> None:
    with pytest.raises(SetupError, match=r"finds no CUDA device here: use --set numerics.device=cpu"):
        resolve_numerics("cuda")


def test_autocast_does_what_the_precision_says() -> None:
    a = torch.ones(4, 4)
    for precision, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        with autocast("cpu", precision):  # type: ignore[arg-type]
            assert (a @ a).dtype == dtype
