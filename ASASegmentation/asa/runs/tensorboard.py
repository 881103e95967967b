"""Write the events of a run for TensorBoard."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from asa.runs.folder import Run
from asa.runs.layout import PREVIEWS, TENSORBOARD


class TensorBoard:
    """Listener of a :class:`Run`: numbers become curves, previews become pictures."""

    def __init__(self, run: Run) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.run = run
        self.writer = SummaryWriter(run.folder / TENSORBOARD, flush_secs=30)

    def __call__(self, kind: str, values: dict[str, Any]) -> None:
        """Take one event; what has no step, and a full disk, are passed over."""
        step = values.get("step")
        try:
            if kind in ("step", "validation"):
                for name, value in values.items():
                    if name != "step" and isinstance(value, (int, float)):
                        self.writer.add_scalar(f"{kind}/{name}", value, step)
            elif kind == "preview":
                with Image.open(self.run.folder / PREVIEWS / values["file"]) as page:
                    self.writer.add_image("preview", np.asarray(page), step, dataformats="HWC")
            elif kind == "end":
                self.writer.close()
        except OSError as error:
            self.run.log(f"TensorBoard not written: {error}")


def add_tensorboard(run: Run) -> None:
    """Mirror the events of ``run``; without the package a log line says so and the run continues."""
    try:
        run.listeners.append(TensorBoard(run))
    except ImportError:
        run.log("TensorBoard is not installed, so no curves are written for it; events.jsonl contains the same values.")
