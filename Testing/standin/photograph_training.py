"""Photographs the tabs Watch and Inspect model, and what they put into the views, light and dark.

    python Testing/standin/photograph_training.py RUN HEAD.nii.gz [FOLDER]

RUN is the folder of a pre-training with checkpoints, HEAD a stripped T1; FOLDER defaults to Resources/Screenshots.
Takes as long as looking at each checkpoint does.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import driving
import numpy as np
import qt
import slicer
import standin_views
from photograph import Photographer
from PIL import Image, ImageDraw, ImageFont

_VIEW, _PLOT, _GAP = (460, 460), (560, 330), 4
_CHARTS = ("loss", "scores", "lr", "speed")
_PATIENCE_S = 1800.0


def tiled(pictures: list[np.ndarray], names: list[str], background: tuple[int, int, int]) -> Image.Image:
    """Two by two, each with its name in a corner where there is one."""
    height, width = pictures[0].shape[:2]
    page = Image.new("RGB", (2 * width + _GAP, 2 * height + _GAP), background)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(17)
    for number, (picture, name) in enumerate(zip(pictures, names, strict=True)):
        x, y = number % 2 * (width + _GAP), number // 2 * (height + _GAP)
        page.paste(Image.fromarray(picture), (x, y))
        draw.text((x + 10, y + 8), name, (225, 225, 225), font)
    return page


def four_views(at: Any = None) -> Image.Image:
    """The four slice views of the layout, as they are shown."""
    from ASATrainingLib.layouts import SLICE_VIEWS, slice_view

    pictures = []
    for name in SLICE_VIEWS:
        composite = slice_view(slicer.mrmlScene, name)[1]
        volume = slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID())
        pictures.append(standin_views.slice_picture(volume, "Axial", _VIEW, composite, at))
    return tiled(pictures, [name.removeprefix("ASA_") for name in SLICE_VIEWS], (70, 70, 70))


def show_tab(panel: Any, title: str) -> Any:
    """Brings a tab to the front and returns it."""
    panel.ui.tabWidget.setCurrentIndex(list(panel.tabs).index(title))
    slicer.app.processEvents()
    return panel.tabs[title]


def watch(panel: Any, camera: Photographer, folder: Path) -> None:
    """The tab, and its charts as plot views draw them."""
    tab = show_tab(panel, "Watch")
    driving.wait_for(lambda: tab.plots.nodes() and not tab._dirty, 300)
    tab.show_plots()
    driving.wait_for(lambda: tab._plotting is None, 60)
    camera.take("training_watch")
    nodes = tab.plots.nodes()
    charts = [nodes[key] for key in _CHARTS if key in nodes]
    for suffix, dark in (("", False), ("_dark", True)):
        pictures = [standin_views.plot_picture(chart, _PLOT, dark) for chart in charts]
        page = tiled(pictures, [""] * len(pictures), (150, 150, 150) if not dark else (60, 60, 60))
        page.save(folder / f"training_plots{suffix}.png", optimize=True)


def look_inside(panel: Any, camera: Photographer, folder: Path, head: Path) -> None:
    """The tab after all checkpoints were looked at, the four views, and the attention of a patch."""
    tab = show_tab(panel, "Inspect model")
    volume = slicer.util.loadVolume(str(head))
    volume.SetName("head_T1")
    tab.ui.volumeSelector.setCurrentNode(volume)
    tab.ui.strippedCheckBox.setChecked(True)
    tab.ui.maskComboBox.setCurrentIndex(1)
    tab.ui.inspectAllButton.click()
    driving.wait_for(lambda: not tab.inspections.running, _PATIENCE_S)
    driving.wait_for(lambda: tab.inspection is not None or tab._note, 300)
    for index in range(tab.ui.checkpointSlider.maximum + 1):  # a row of the table for each
        before = tab.inspection
        tab.ui.checkpointSlider.setValue(index)
        if index < tab.ui.checkpointSlider.maximum:
            driving.wait_for(lambda before=before: tab.inspection is not before, 300)
    driving.wait_for(lambda: tab.inspection.summary["steps"] == tab.checkpoint.step, 300)
    patches = tab.inspection.patches
    t, h, w = (round(n * share) for n, share in zip(patches.grid, (0.55, 0.55, 0.42), strict=True))
    patch = int(np.ravel_multi_index((t, h, w), patches.grid))
    centre = [float(value) for value in patches.centre(patch)]
    four_views(centre).save(folder / "views_reconstruction.png", optimize=True)
    tab.tools.chosen.make().AddControlPointWorld(centre)
    driving.wait_for(lambda: tab.shown.node("attention") is not None, 100)
    tab.tools.chosen.node.SetNthControlPointLabel(0, "patch")
    tab.ui.overlaySlider.setValue(90)
    camera.take("training_inspect")
    four_views(centre).crop((0, 0, *_VIEW)).save(folder / "views_attention.png", optimize=True)


def main(run: Path, head: Path, folder: Path) -> None:
    """Takes all pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    module = driving.open_module("ASATraining")
    panel = module.widgetRepresentation().self().panel
    camera = Photographer(module, folder)
    panel.logic.open_run(run)
    watch(panel, camera, folder)
    look_inside(panel, camera, folder, head)
    module.close()
    qt.QApplication.processEvents()


if __name__ == "__main__":
    target = Path(sys.argv[3]) if len(sys.argv) > 3 else driving.REPOSITORY / "Resources/Screenshots"
    main(Path(sys.argv[1]), Path(sys.argv[2]), target)
