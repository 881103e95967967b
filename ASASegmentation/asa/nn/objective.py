"""What the training loop trains: a network and the loss asked of it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

Batch = dict[str, Any]


class Objective(nn.Module):
    """A network together with what it is trained for; subclasses define :meth:`forward`."""

    network: nn.Module

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of a micro-batch, each a scalar averaged over its samples; ``loss`` is minimised."""
        raise TypeError(f"{type(self).__name__} does not say how its losses are computed")
