"""Predict posteriors in the brain frame: in one pass, or in Gaussian-weighted windows if memory is short."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from asa.devices import (
    choose_inference_device,
    free_memory,
    gpu_failure,
    missing_kernels,
    native_bf16,
    to_array,
    to_tensor,
)
from asa.errors import ModelError, ResourceError
from asa.models import ModelFolder, load_network
from asa.nn import Segmenter
from asa.nn.position import Grid3, place_in_frame
from asa.nn.sliding_window import blend_windows, window_starts

WINDOW = (96, 96, 96)
# By the name that PyTorch before 2.5 has too.
OUT_OF_MEMORY: tuple[type[BaseException], ...] = (torch.cuda.OutOfMemoryError, MemoryError)
# Those of the shipped models stay below 60 on the development heads.
LARGEST_LOGIT = 1e4
# Probabilities of GPUs and processors differ by rounding; an operation that is wrong changes them by more.
PROBE_PATCHES, PROBE_TOLERANCE = 8, 0.01


class Predictor:
    """A network on a device, ready to segment frame images.

    Attributes:
        model: the folder of the network.
        device: where it computes.
        note: a sentence for the user if it had to leave the GPU, otherwise "".
    """

    def __init__(self, model: ModelFolder, device: torch.device, *, may_leave_gpu: bool = False) -> None:
        """Load a network.

        Args:
            model: its folder.
            device: where it is to compute.
            may_leave_gpu: whether to fall back to the CPU, with a note, if the GPU fails; only if it was not requested.

        Raises:
            ResourceError: the GPU cannot be used.
        """
        self.model, self.note = model, ""
        self.network: Segmenter = load_network(model).fuse()
        if self.network.config.norm == "batch":
            self.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.temperature = model.description.temperature
        self.may_leave_gpu = may_leave_gpu and device.type != "cpu"
        self._move(torch.device("cpu"))
        if device.type == "cpu":
            return
        try:
            if device.type == "cuda" and (reason := missing_kernels(device)):
                raise ResourceError(reason)
            expected = self._probe() if device.type == "mps" else None
            self._move(device)
            # Operations of MPS have been wrong in silence; those of this network are compared with the CPU's.
            if expected is not None and not torch.allclose(self._probe(), expected, atol=PROBE_TOLERANCE):
                raise ResourceError("The GPU computes different values than the CPU; use --device cpu.")
        except Exception as error:
            if not self._leave_gpu(error):
                raise

    @classmethod
    def on(cls, model: ModelFolder, device: str) -> Predictor:
        """Load a network for the device of a name; ``auto`` is the best one, which may be left for the processor."""
        return cls(model, choose_inference_device(device), may_leave_gpu=device == "auto")

    def _move(self, device: torch.device) -> None:
        self.network.to(device)
        self.device, self.bf16 = device, native_bf16(device)

    def _probe(self) -> Tensor:
        """Return the posterior of a small crop of noise."""
        encoder = self.network.config.encoder
        side = [min(PROBE_PATCHES, known) * encoder.patch for known in encoder.frame]
        noise = torch.randn((1, encoder.in_channels, *side), generator=torch.Generator().manual_seed(0))
        return self.run(noise, (0, 0, 0))

    def _leave_gpu(self, error: Exception) -> bool:
        """Go on on the processor if the GPU was chosen for the user, and cannot do the work."""
        if not self.may_leave_gpu:
            return False
        reason = str(error).partition(";")[0] if isinstance(error, ResourceError) else gpu_failure(error)
        if not reason:
            return False
        reason = reason[:1].lower() + reason[1:] if isinstance(error, ResourceError) else reason
        self.note = f"The GPU could not be used ({reason}); the CPU was used instead, which takes longer."
        self.may_leave_gpu = False
        self._move(torch.device("cpu"))
        return True

    def posterior(
        self, image: npt.NDArray[np.float32], *, tta: bool = False, progress: Callable[[float], None] = lambda _: None
    ) -> npt.NDArray[np.float32]:
        """Return the probabilities (K, T, H, W) of classes or, for models of regions, of regions.

        ``image``: (C, T, H, W) in the brain frame, normalised as the model requires.

        ``tta``: test-time augmentation (left-right flip): average with the mirrored image's mirrored posterior.

        Raises:
            ModelError: a logit is absurdly large, or not a finite number.
            ResourceError: not even one window fits into the GPU's memory.
        """
        x = to_tensor(image)[None]
        total = self.once(x, progress if not tta else lambda f: progress(f / 2))
        if tta:
            total += self.once(x.flip(-1), lambda f: progress(0.5 + f / 2)).flip(-1)
            total /= 2
        result: npt.NDArray[np.float32] = to_array(total[0])
        return result

    def once(self, x: Tensor, progress: Callable[[float], None]) -> Tensor:
        """Evaluate (1, C, T, H, W), in one pass if it fits; on the CPU if the GPU fails and was not requested."""
        try:
            return self._once(x, progress)
        except Exception as error:
            if not self._leave_gpu(error):
                raise
        return self._once(x, progress)

    def _once(self, x: Tensor, progress: Callable[[float], None]) -> Tensor:
        try:
            if self.known(x) and fits(x, self.network, self.device, bf16=self.bf16):
                out = self.run(x, (0, 0, 0))
                progress(1.0)
                return out
        except OUT_OF_MEMORY:
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        try:
            return self.windows(x, progress)
        except OUT_OF_MEMORY as error:
            where = "this computer" if self.device.type == "cpu" else "the GPU"
            raise ResourceError(
                f"{where} has too little free memory for one window; close other programs or use --device cpu."
            ) from error

    def known(self, x: Tensor) -> bool:
        """Return whether the network's position codes reach over the whole of (1, C, T, H, W)."""
        encoder = self.network.config.encoder
        return all(n <= f * encoder.patch for n, f in zip(x.shape[-3:], encoder.frame, strict=True))

    def run(self, x: Tensor, origin: tuple[int, int, int]) -> Tensor:
        """Return the posterior of one crop whose corner is ``origin`` patches into the frame.

        Raises:
            ModelError: a logit is absurdly large, or not a finite number.
        """
        layout = torch.channels_last_3d if self.network.config.norm == "batch" else torch.contiguous_format
        # Older versions of PyTorch know no autocast for MPS.
        numbers = torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else nullcontext()
        with torch.inference_mode(), numbers:
            logits = self.network(x.to(self.device).contiguous(memory_format=layout), origin)
            low, high = (float(value) for value in logits.aminmax())
        if not (low > -LARGEST_LOGIT and high < LARGEST_LOGIT):  # false for NaN too
            raise ModelError(
                f"Model '{self.model.name}' computed values that are absurdly large or not finite numbers ({low:g} to "
                f"{high:g}). Its weights or its model.json are damaged; install the model again."
            )
        scaled = logits.float() / self.temperature
        return (scaled.sigmoid() if self.model.description.regions else torch.softmax(scaled, 1)).cpu().contiguous()

    def windows(self, x: Tensor, progress: Callable[[float], None]) -> Tensor:
        """Overlapping windows on the patch grid, blended with Gaussian weights.

        Beyond the frame that a network was trained on, windows take the position codes of the nearest place in it.
        """
        encoder = self.network.config.encoder
        sides = zip(WINDOW, encoder.frame, x.shape[-3:], strict=True)
        depth, height, width = (min(side, known * encoder.patch, whole) for side, known, whole in sides)
        window, scan = (depth, height, width), (x.shape[-3], x.shape[-2], x.shape[-1])
        starts = [window_starts(n, side, encoder.patch) for n, side in zip(scan, window, strict=True)]

        def run(box: tuple[slice, slice, slice], corner: Grid3) -> Tensor:
            place = place_in_frame(corner, window, scan, encoder.frame, encoder.patch)
            return self.run(x[(..., *box)], place)[0]

        return blend_windows(scan, window, starts, run, progress)[None]


def fits(x: Tensor, network: Segmenter, device: torch.device, *, bf16: bool) -> bool:
    """Return whether one pass over ``x`` is likely to fit into free memory.

    Measured: about 6 maps at full resolution, or 4 where the finest level is computed in slabs or at 1/2.
    """
    voxels = x.shape[-3] * x.shape[-2] * x.shape[-1]
    maps = 4 if network.slabs or network.subpixel else 6
    return maps * voxels * network.config.widths[0] * (2 if bf16 else 4) < free_memory(device)
