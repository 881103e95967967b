"""Progress of the running segmentation in the panel, and how long the next one will take."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from asa.events import Progress
from ASASegmentationLib.durations import Durations
from ASASegmentationLib.parameters import Parameters
from ASASegmentationLib.wording import duration, progress_text
from ASASlicerLib.store import Store

_STEPS = 1000


class ProgressSection:
    """`ui` holds the named widgets of ASASegmentation.ui; `store` keeps durations for the next session."""

    def __init__(self, ui: Any, store: Store) -> None:
        self._ui = ui
        self._durations = Durations(store)
        ui.progressBar.setRange(0, _STEPS)

    def start(self, parameters: Parameters) -> None:
        """Begin to time a segmentation."""
        self._durations.start(_kind(parameters))
        self.show()

    def take(self, progress: Progress) -> None:
        """Note how far the segmentation is."""
        self._durations.take(progress)

    def finish(self) -> None:
        """Learn from a segmentation that is complete."""
        self._durations.finish()

    def show(self) -> None:
        """Show the stage, the elapsed and the remaining time; call it regularly while a segmentation runs."""
        estimate = self._durations.estimate()
        if estimate is None:
            return
        self._ui.progressBar.setValue(int(_STEPS * estimate.fraction))
        self._ui.statusLabel.setText(progress_text(estimate))

    def expectation(self, parameters: Parameters) -> str:
        """Return how long a segmentation with these parameters takes on this computer, as a sentence."""
        seconds = self._durations.total_s(_kind(parameters))
        if seconds is None:
            return _("Not timed on this computer yet; usually a minute or two.")
        return _("Takes about {time} on this computer.").format(time=duration(seconds))


def _kind(parameters: Parameters) -> str:
    """Return what the duration depends on."""
    settings, model = parameters.settings, parameters.model
    volumes, surfaces = len(parameters.volumes()), "surfaces" if settings.surfaces else ""
    parts = (
        settings.task,
        model.name if model is not None else "",
        settings.device,
        f"{volumes} volumes",
        f"tta {settings.tta}",
        surfaces,
    )
    return ", ".join(filter(None, parts))
