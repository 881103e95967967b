"""A GPU that was chosen for the user and cannot do the work: the processor computes instead, and the user is told.

There is no GPU here: a predictor is told that it is on one, and raises what PyTorch raises there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from Testing.engine.tiny_model import tiny_config, write_tiny_model

from asa.devices import choose_device, choose_inference_device, gpu_failure, missing_kernels
from asa.errors import ModelError, ResourceError
from asa.inference.predictor import Predictor
from asa.models import ModelFolder, open_model

IMAGE = np.random.default_rng(0).standard_normal((1, 64, 64, 64)).astype(np.float32)
CUDA, MPS = torch.device("cuda"), torch.device("mps")


@pytest.fixture
def model(tmp_path: Path) -> ModelFolder:
    return open_model(write_tiny_model(tmp_path, tiny_config((8, 8, 8))))


@pytest.fixture
def anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a predictor believe that it is on a device that is not there."""

    def move(self: Predictor, device: torch.device) -> None:
        self.device, self.bf16 = device, False

    run = Predictor.run

    def run_here(self: Predictor, x: torch.Tensor, origin: tuple[int, int, int]) -> torch.Tensor:
        device, self.device = self.device, torch.device("cpu")
        try:
            return run(self, x, origin)
        finally:
            self.device = device

    monkeypatch.setattr(Predictor, "_move", move)
    monkeypatch.setattr(Predictor, "run", run_here)
    monkeypatch.setattr("asa.inference.predictor.missing_kernels", lambda device: "")
    monkeypatch.setattr("asa.inference.predictor.free_memory", lambda device: float("inf"))


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let the network fail on every device but the processor, where it computes."""
    run = Predictor.run

    def or_fail(self: Predictor, x: torch.Tensor, origin: tuple[int, int, int]) -> torch.Tensor:
        if self.device.type != "cpu":
            raise error
        return run(self, x, origin)

    monkeypatch.setattr(Predictor, "run", or_fail)


@pytest.mark.parametrize(
    ("device", "error", "said"),
    [
        (CUDA, torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"), "too little free memory"),
        (CUDA, RuntimeError("CUDA error: no kernel image is available for execution on the device"), "no kernel image"),
        (CUDA, RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"), "cuDNN error"),
        (MPS, RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), "its memory does not suffice"),
        (MPS, NotImplementedError("The operator 'aten::foo' is not currently implemented"), "it lacks an operation"),
    ],
)
def test_the_processor_computes_instead(
    model: ModelFolder,
    anywhere: None,
    monkeypatch: pytest.MonkeyPatch,
    device: torch.device,
    error: Exception,
    said: str,
) -> None:
    expected = Predictor(model, torch.device("cpu")).posterior(IMAGE)
    predictor = Predictor(model, device, may_leave_gpu=True)
    failing(monkeypatch, error)
    np.testing.assert_allclose(predictor.posterior(IMAGE), expected, atol=1e-5)
    assert predictor.device.type == "cpu"
    assert said in predictor.note and "the CPU was used instead" in predictor.note
    asked_for = Predictor(model, torch.device("cpu"))
    asked_for.device = device
    with pytest.raises((RuntimeError, ResourceError)):
        asked_for.posterior(IMAGE)


def test_other_errors_are_not_hidden(model: ModelFolder, anywhere: None, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, ModelError("The weights are damaged."))
    with pytest.raises(ModelError, match="damaged"):
        Predictor(model, CUDA, may_leave_gpu=True).posterior(IMAGE)


def test_operations_of_mps_are_compared_with_the_processor(
    model: ModelFolder, anywhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Predictor(model, MPS, may_leave_gpu=True).device == MPS
    run = Predictor.run

    def wrong(self: Predictor, x: torch.Tensor, origin: tuple[int, int, int]) -> torch.Tensor:
        found = run(self, x, origin)
        return found if self.device.type == "cpu" else found.flip(1)

    monkeypatch.setattr(Predictor, "run", wrong)
    predictor = Predictor(model, MPS, may_leave_gpu=True)
    assert predictor.device.type == "cpu" and "computes different values" in predictor.note
    with pytest.raises(ResourceError, match="use --device cpu"):
        Predictor(model, MPS)


def test_a_gpu_without_kernels(model: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Old GPU")
    for capability, built, missing in (
        ((6, 1), ["sm_75", "sm_80", "sm_90"], True),
        ((8, 6), ["sm_75", "sm_80"], False),
        ((12, 0), ["sm_80", "sm_90"], True),
        ((12, 0), ["sm_80", "compute_90"], False),
        ((9, 0), ["sm_90a"], False),
        ((9, 0), [], False),
    ):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda found=built: found)
        assert bool(missing_kernels(CUDA)) == missing, (capability, built)
    monkeypatch.setattr("asa.inference.predictor.missing_kernels", lambda device: "It has no kernels; install others.")
    predictor = Predictor(model, CUDA, may_leave_gpu=True)
    assert predictor.device.type == "cpu" and "(it has no kernels)" in predictor.note
    with pytest.raises(ResourceError, match="no kernels"):
        Predictor(model, CUDA)


def test_which_device_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for cuda, mps, chosen in ((True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda found=cuda: found)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda found=mps: found)
        assert choose_inference_device("auto").type == chosen
        assert choose_device("auto").type == ("cuda" if cuda else "cpu"), "training takes no MPS"
    with pytest.raises(ResourceError, match="needs a Mac with Apple silicon"):
        choose_device("mps")
    assert gpu_failure(ValueError("something else")) == ""
