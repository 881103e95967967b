"""Photographs the module for README and the catalogue: the panel in each state, light and dark, and the views.

    python Testing/standin/photograph.py [--before] HEAD.nii.gz [FOLDER]

HEAD is a T1; FOLDER defaults to Resources/Screenshots. Takes as long as three segmentations: of the head, of the same
again into a segmentation that a user has changed, and of every third slice of it, which the engine warns of. With
`--before` only the states before a segmentation are taken.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import driving
import numpy as np
import qt
import slicer
import standin_views
import vtk
from PIL import Image, ImageDraw

_WIDTH, _HEIGHT = 350, 760  # as narrow as the dock begins
_DARK = {
    "Window": (45, 45, 48), "WindowText": (230, 230, 230), "Base": (30, 30, 32), "AlternateBase": (38, 38, 42),
    "Text": (230, 230, 230), "Button": (58, 58, 62), "ButtonText": (230, 230, 230), "ToolTipBase": (58, 58, 62),
    "ToolTipText": (230, 230, 230), "Highlight": (60, 120, 190), "HighlightedText": (255, 255, 255),
    "PlaceholderText": (150, 150, 150), "BrightText": (255, 90, 90),
}  # fmt: skip
_DARK_DISABLED = (120, 120, 120)


class Photographer:
    """Takes the pictures of one panel."""

    def __init__(self, module: Any, folder: Path) -> None:
        self._widget = module.widgetRepresentation()
        self._widget.resize(_WIDTH, _HEIGHT)
        self._folder = folder

    def take(self, name: str) -> None:
        """Writes <name>.png and <name>_dark.png."""
        in_both_themes(self._widget, self._folder / name)


def in_both_themes(widget: Any, path: Path) -> None:
    """Writes <path>.png and <path>_dark.png of a widget."""
    light = qt.QApplication.palette()
    for suffix, palette in (("", light), ("_dark", dark_palette())):
        qt.QApplication.setPalette(palette)
        for _round in range(2):  # a table that has grown moves what is below it in the second
            slicer.app.processEvents()
        widget.grab().save(f"{path}{suffix}.png")
    qt.QApplication.setPalette(light)


def dark_palette() -> Any:
    """Colours like those of Slicer's dark theme."""
    palette = qt.QPalette()
    for role, rgb in _DARK.items():
        palette.setColor(getattr(qt.QPalette, role), qt.QColor(*rgb))
    for role in ("WindowText", "Text", "ButtonText"):
        palette.setColor(qt.QPalette.Disabled, getattr(qt.QPalette, role), qt.QColor(*_DARK_DISABLED))
    return palette


def views(volume: Any, at: Any = None) -> Image.Image:
    """Three slices, through a point in RAS mm or the middle, and the 3-D view, as Slicer lays them out."""
    planes = ("Axial", "Sagittal", "Coronal")
    pictures = [standin_views.slice_picture(volume, plane, (440, 440), None, at) for plane in planes]
    pictures.insert(1, standin_views.view_picture((440, 440)))
    rows = [np.concatenate(pictures[start : start + 2], axis=1) for start in (0, 2)]
    image = Image.fromarray(np.concatenate(rows, axis=0))
    draw = ImageDraw.Draw(image)
    draw.line([(440, 0), (440, 880)], fill=(60, 60, 60), width=2)
    draw.line([(0, 440), (880, 440)], fill=(60, 60, 60), width=2)
    return image


def main(head: Path, folder: Path, *, before: bool) -> None:
    """Takes all pictures, or those `before` a segmentation."""
    folder.mkdir(parents=True, exist_ok=True)
    module = driving.open_module("ASASegmentation")
    panel = module.widgetRepresentation().self().panel
    camera = Photographer(module, folder)
    camera.take("panel_1_empty")
    first_click(folder)
    volume = slicer.util.loadVolume(str(head))
    volume.SetName("head_T1")
    driving.wait_for(lambda: panel.ui.segmentButton.enabled, 20)
    panel.ui.advancedSection.collapsed = False
    camera.take("panel_2_ready")
    panel.ui.advancedSection.collapsed = True
    panel.ui.taskComboBox.setCurrentIndex(panel.ui.taskComboBox.findData("tumour"))
    panel.ui.modalitySelector2.setCurrentNode(volume)  # for T2 too
    camera.take("panel_6_incomplete")
    panel.ui.taskComboBox.setCurrentIndex(panel.ui.taskComboBox.findData("tissue"))
    if not before:
        segmented(panel, camera, folder, head, volume)
    module.close()


def segmented(panel: Any, camera: Photographer, folder: Path, head: Path, volume: Any) -> None:
    """The states while the engine works and after that."""
    panel.ui.segmentButton.click()
    driving.wait_for(lambda: panel.ui.progressBar.value > 400 or not panel.logic.running, 900)
    camera.take("panel_3_running")
    driving.wait_for(lambda: not panel.logic.running, 900)
    camera.take("panel_4_done")
    views(volume).save(folder / "views_tissue.png", optimize=True)
    update(panel, camera, folder, volume)
    slicer.mrmlScene.RemoveNode(volume)
    thick = every_third_slice(head)
    driving.wait_for(lambda: panel.ui.modalitySelector0.currentNode() is thick, 20)
    panel.ui.segmentButton.click()
    driving.wait_for(lambda: not panel.logic.running, 900)
    camera.take("panel_5_warning")


def first_click(folder: Path) -> None:
    """What is asked before packages are installed, on a computer with a graphics card."""
    from ASASlicerLib.dependencies import PACKAGES, Plan
    from ASASlicerLib.dialogs import SlicerDialogs

    plan = Plan(PACKAGES[:3], True, None, "Slicer-5.12/lib/Python/lib/python3.12/site-packages")
    answers: list[bool] = []
    timer = qt.QTimer()
    timer.setSingleShot(True)
    timer.connect("timeout()", lambda: answers.append(SlicerDialogs().ask(plan.explanation())))
    with dialogs_answered("No", folder / "dialog_packages"):
        timer.start(0)
        in_event_loop(lambda: bool(answers))


def update(panel: Any, camera: Photographer, folder: Path, volume: Any) -> None:
    """Another run into the same segmentation, of which a user has corrected a segment and drawn one anew."""
    node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    segmentation = node.GetSegmentation()
    grey, white = (slicer.util.arrayFromSegmentBinaryLabelmap(node, key, volume).copy() for key in ("GM", "WM"))
    grey[: grey.shape[0] // 3] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(grey, node, "GM", volume)
    segmentation.RemoveSegment("WM")
    segmentation.AddEmptySegment("WM", "My white matter")
    slicer.util.updateSegmentBinaryLabelmapFromArray(white, node, "WM", volume)
    panel.ui.outputSelector.setCurrentNode(node)
    panel.ui.segmentButton.click()
    with dialogs_answered("No", folder / "dialog_update"):
        in_event_loop(lambda: not panel.logic.running)
    camera.take("panel_7_updated")
    panel.ui.outputSelector.setCurrentNode(None)


def in_event_loop(until: Callable[[], bool]) -> None:
    """Lets Qt work in a loop of its own, as in Slicer: outside of any, dialogues that are to be deleted go at once."""
    loop, timer = qt.QEventLoop(), qt.QTimer()
    timer.connect("timeout()", lambda: loop.quit() if until() else None)
    timer.start(50)
    loop.exec_()


@contextlib.contextmanager
def dialogs_answered(answer: str, path: Path) -> Iterator[None]:
    """Takes a picture of the dialogue that opens within, and presses a button of it."""

    def press() -> None:
        box = qt.QApplication.activeModalWidget()
        if box is None:
            return
        in_both_themes(box, path)
        next(button for button in box.buttons() if button.text.strip("&") == answer).click()

    timer = qt.QTimer()
    timer.connect("timeout()", press)
    timer.start(200)
    with mock.patch.object(slicer.app, "testingEnabled", lambda: False):
        yield
    timer.stop()


def every_third_slice(head: Path) -> Any:
    """A volume of the scene with the slices of a head that a quick clinical scan would have."""
    volume = slicer.util.loadVolume(str(head))
    volume.SetName("head_T1_thick")
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    for row in range(3):
        matrix.SetElement(row, 2, 3 * matrix.GetElement(row, 2))
    slicer.util.updateVolumeFromArray(volume, slicer.util.arrayFromVolume(volume)[::3].copy())
    volume.SetIJKToRASMatrix(matrix)
    return volume


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--before"]
    main(
        Path(words[0]),
        Path(words[1]) if len(words) > 1 else driving.REPOSITORY / "Resources/Screenshots",
        before="--before" in sys.argv,
    )
