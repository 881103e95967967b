"""Which number format a device multiplies natively."""

from __future__ import annotations

import torch


def native_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 on ``device`` (GPUs since Ampere; CPUs with AMX or AVX-512 BF16)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")  # private, and not in every PyTorch
    return any(bool(getattr(torch.cpu, name, bool)()) for name in probes)
