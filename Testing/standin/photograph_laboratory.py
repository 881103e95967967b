"""Photographs the tabs Data, Run and Publish with what the engine really answers, light and dark.

    python Testing/standin/photograph_laboratory.py SCANS STORE TUNED [FOLDER]

SCANS is a tree of scans, STORE a store of them, TUNED the folder of a fine-tuning; FOLDER defaults to
Resources/Screenshots. What the paths are named is in the pictures.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import driving
import qt
import slicer
from photograph import Photographer

_PATIENCE_S = 600.0


def show_tab(panel: Any, title: str) -> Any:
    """Brings a tab to the front and returns it."""
    panel.ui.tabWidget.setCurrentIndex(list(panel.tabs).index(title))
    return panel.tabs[title]


def data(panel: Any, scans: Path, store: Path) -> None:
    """Input data, before it is prepared."""
    tab = show_tab(panel, "Data")
    tab.ui.folderPathLineEdit.setCurrentPath(str(scans))
    tab.ui.storePathLineEdit.setCurrentPath(str(store))
    tab.ui.scanButton.click()
    driving.wait_for(lambda: not tab.busy, _PATIENCE_S)


def scene(panel: Any, scans: Path) -> None:
    """Labelled cases of the scene: two segmentations with the scans they were drawn on, and one of another task."""
    tab = show_tab(panel, "Data")
    for control, value in ((tab.ui.purposeComboBox, "finetune"), (tab.ui.sourceComboBox, "scene")):
        control.setCurrentIndex(control.findData(value))
    tab.ui.datasetComboBox.setCurrentIndex(tab.ui.datasetComboBox.findData("tissue"))
    heads = sorted(scans.rglob("*_T1w.nii.gz"))[:3]
    for path, names in zip(heads, (["Grey matter", "White matter"], ["GM", "WM"], ["Pons"]), strict=True):
        volume = slicer.util.loadVolume(str(path))
        volume.SetName(path.name.removesuffix(".nii.gz"))
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{volume.GetName()} manual")
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        for name in names:
            node.GetSegmentation().AddEmptySegment("", name)
    driving.wait_for(lambda: tab.ui.volumesList.count == len(heads), 60)
    for row in range(2):
        tab.ui.volumesList.item(row).setCheckState(2)
    slicer.app.processEvents()


def run(panel: Any, store: Path) -> None:
    """Settings of a new run, and what it will need."""
    tab = show_tab(panel, "Run")
    tab.ui.runStorePathLineEdit.setCurrentPath(str(store))
    tab.ui.runFolderPathLineEdit.setCurrentPath(str(store.parent / "runs" / "starter"))
    driving.wait_for(lambda: tab.ui.deviceComboBox.findData("cpu") >= 0, _PATIENCE_S)
    tab.ui.estimateButton.click()
    driving.wait_for(lambda: tab.ui.estimateButton.enabled, _PATIENCE_S)


def main(scans: Path, store: Path, tuned: Path, folder: Path) -> None:
    """Takes all pictures."""
    os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp()  # no queue and no models but those that ship
    folder.mkdir(parents=True, exist_ok=True)
    module = driving.open_module("ASATraining")
    panel = module.widgetRepresentation().self().panel
    camera = Photographer(module, folder)
    driving.wait_for(lambda: panel.tabs["Run"].kind_known, _PATIENCE_S)
    panel.logic.open_run(tuned)
    data(panel, scans, store)
    camera.take("training_data")
    scene(panel, scans)
    camera.take("training_data_scene")
    slicer.mrmlScene.Clear(0)
    run(panel, store)
    camera.take("training_run")
    form = panel.tabs["Run"]
    form.ui.allCheckBox.click()
    form.set_values({"mask_ratio": 1.5})
    camera.take("training_run_fault")
    publish = show_tab(panel, "Publish")
    publish.ui.notesText.setPlainText("Trained on our own scans; not for children.")
    camera.take("training_publish")
    module.close()
    qt.QApplication.processEvents()


if __name__ == "__main__":
    target = Path(sys.argv[4]) if len(sys.argv) > 4 else driving.REPOSITORY / "Resources/Screenshots"
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), target)
