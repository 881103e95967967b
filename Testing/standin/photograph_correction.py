"""Play the tutorial on corrections with clicks in the effect, measure each click, and take its screenshots.

    python Testing/standin/photograph_correction.py CASES.csv CASE RESULT [FOLDER]

CASES.csv names the images and labels of cases, as Testing/benchmarks/models/collect_cases.py writes it; RESULT is a
result folder of CASE with probabilities; FOLDER defaults to Resources/Screenshots. The clicks are those of the
simulated user of Testing/benchmarks/interaction: into the deepest point of the largest error. Printed is the Dice
coefficient of the tumour core before and after each.
"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import driving
import numpy as np
import slicer
import standin_segment_editor
import standin_views
from photograph import Photographer
from PIL import Image

sys.path.insert(0, str(driving.REPOSITORY))
SEGMENT, CLICKS = "TC", 5


def add_result(volumes: dict[str, Any], folder: Path) -> Any:
    """Brings a result folder into the scene, with the record that the resident engine would have written."""
    from asa.files import sha256
    from asa.jobs.segment import posterior_name
    from asa.refinement.record import Record
    from asa.tasks import TASKS
    from asa.volume import read_volume
    from ASASegmentationLib.refine.exchange import write_opening
    from ASASegmentationLib.refine.subject import find_subject
    from ASASegmentationLib.results import record, scene
    from ASASegmentationLib.results.result import read_result
    from ASASlicerLib.steps import finish

    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    task, scan = TASKS[report["task"]], volumes[report["reference"]]
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary)
        for name in ("segmentation.nii.gz", "report.json", "volumes.json", "overlay.png"):
            (copy / name).write_bytes((folder / name).read_bytes())
        result = finish(read_result(copy, task, np.eye(4)))
        node = finish(scene.new_segmentation(slicer.mrmlScene, result, scan, "tumour"))
        scene.set_warnings(node, result.doubts, result.warnings)
        scene.set_rows(node, result.volumes)
        scene.set_volume_table(node, result.volumes)
        record.attach_images(node, volumes)
        opened = finish(write_opening(find_subject(node, scan), copy))
        inputs = {key: {"sha256": sha256(Path(path))} for key, path in opened["images"].items()}
        labels = read_volume(folder / "segmentation.nii.gz", labels=True)
        maps = [read_volume(folder / posterior_name(one), head=False).array for one in task.labels]
        posterior = np.stack([1 - np.sum(maps, axis=0), *maps]).clip(0, 1).astype(np.float16)
        made = Record({**report, "inputs": inputs}, labels.grid, labels.array.astype(np.uint8), posterior)
        made.write(copy / "made.zip")
        record.attach_record(node, (copy / "made.zip").read_bytes())
    return node


def main(cases: Path, case: str, result: Path, folder: Path) -> None:
    """Plays the clicks and takes the pictures."""
    from Testing.benchmarks.interaction.user import next_click

    from asa.metrics import dice
    from asa.volume import read_volume

    with cases.open(newline="", encoding="utf-8") as stream:
        row = next(one for one in csv.DictReader(stream) if one["case"] == case)
    module = driving.open_module("ASASegmentation")
    slicer.app.complete_startup()
    panel = module.widgetRepresentation().self().panel
    camera = Photographer(module, folder)
    volumes = {key: slicer.util.loadVolume(row[key]) for key in ("t1", "t1gd", "t2", "flair")}
    for key, volume in volumes.items():
        volume.SetName(f"patient_{key}")
    node = add_result(volumes, result)
    truth_map = read_volume(row["labels"], labels=True)
    truth = np.isin(truth_map.array, (1, 3))
    panel._refresh()
    section = panel.results.correct
    section.section.collapsed = False
    section.editor.setCurrentSegmentID(SEGMENT)
    effect = section.editor.activeEffect().self()
    driving.wait_for(lambda: not effect.correction.busy, 900)
    scan = volumes["t1gd"]
    view = standin_segment_editor.SliceView(scan)

    def now() -> np.ndarray:
        found: np.ndarray = slicer.util.arrayFromSegmentBinaryLabelmap(node, SEGMENT, scan) != 0
        return truth_map.storage.to_array(found.T)

    print("0 clicks", f"{dice(now(), truth):.3f}", effect.statusLabel.text, flush=True)
    for number in range(1, CLICKS + 1):
        mark = next_click(now(), truth, SEGMENT, truth_map.grid)
        if mark is None:
            break
        place = mark.points[0]
        picture(volumes, place, folder / f"correct_{number}_before.png") if number == 1 else None
        view.show(place)
        started, used = time.perf_counter(), time.thread_time()
        button = "Left" if mark.adds else "Right"
        for event in ("Press", "Release"):
            section_native(section).send(view, f"{button}Button{event}", view.xy(place))
        busy = driving.wait_for(lambda: not effect.correction.busy, 900)
        took, used = time.perf_counter() - started, time.thread_time() - used
        if number == 1:
            picture(volumes, place, folder / f"correct_{number}_preview.png")
            module.widgetRepresentation().resize(350, 1220)
            camera.take("panel_9_correct")
        effect.accept()
        applied = driving.wait_for(lambda: not effect.correction.busy, 900)
        if number == 1:
            picture(volumes, place, folder / f"correct_{number}_applied.png")
        print(
            f"{number} {mark.action}: Dice {dice(now(), truth):.3f}; {took:.2f} s until the preview, GUI thread "
            f"{1000 * used:.0f} ms, at most {1000 * max(busy, applied):.0f} ms at a time",
            flush=True,
        )
    view.close()
    module.close()


def section_native(section: Any) -> Any:
    """The stand-in's own editor, which takes events."""
    import qt

    return qt.unwrap(section.editor)


def picture(volumes: dict[str, Any], place: tuple[float, float, float], path: Path) -> None:
    """The axial slice of the FLAIR and of the T1 with contrast agent through a place."""
    shown = [standin_views.slice_picture(volumes[key], "Axial", (420, 420), None, place) for key in ("flair", "t1gd")]
    Image.fromarray(np.concatenate(shown, axis=1)).save(path, optimize=True)


if __name__ == "__main__":
    target = Path(sys.argv[4]) if len(sys.argv) > 4 else driving.REPOSITORY / "Resources" / "Screenshots"
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), target)
