"""Training objective: a network and its loss."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

Batch = dict[str, Any]


class Objective(nn.Module):
    """A network together with what it is trained for; subclasses define :meth:`forward`.

    Attributes:
        frozen_norm: batch normalisation uses, and keeps, the statistics it has, also in training.
        freeze_at: step from which on it does; before, statistics are learned.
    """

    network: nn.Module
    frozen_norm = False
    freeze_at = math.inf

    def train(self, mode: bool = True) -> Objective:
        """Training mode, but for frozen normalisation."""
        super().train(mode)
        for module in self.modules():
            if self.frozen_norm and isinstance(module, nn.BatchNorm3d):
                module.eval()
        return self

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return losses of a micro-batch, each a scalar averaged over its samples; ``loss`` is minimised."""
        raise TypeError(f"{type(self).__name__} does not say how its losses are computed.")
