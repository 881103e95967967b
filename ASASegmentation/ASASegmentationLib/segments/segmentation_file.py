"""Write a .seg.nrrd file from a label map through MRML.

    python -m ASASegmentationLib.segments.segmentation_file < request.json

The engine runs this in a separate process, because it must not import `slicer`. The process loads its libraries
first; the engine sends the request once there is something to write. The request is an object with `labels` (a NIfTI
label map with values 0..255), `output` (ends in .seg.nrrd), `name` of the segmentation and `segments`: a list of
objects with the fields of `SegmentSpec`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import nibabel
import numpy as np
import slicer

from ASASegmentationLib.segments.build import SegmentSpec, add_segments


def write_segmentation(labels: Path, output: Path, name: str, specs: Iterable[SegmentSpec]) -> None:
    """Write `output` with one segment per spec, on the grid of the label map.

    Args:
        labels: label map, a NIfTI file.
        output: .seg.nrrd file to write.
        name: of the segmentation.
        specs: label value, name, colour and terminology of each segment.

    Raises:
        OSError: the file cannot be written.
    """
    image = nibabel.load(labels)
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    add_segments(node, np.asanyarray(image.dataobj), image.affine, specs)
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetCropToMinimumExtent(False)  # the file keeps the scan's whole grid, as other programs expect
    storage.SetFileName(str(output))
    node.SetAndObserveStorageNodeID(storage.GetID())
    if not storage.WriteData(node):
        raise OSError(f"The segmentation could not be written to {output}.")


def main() -> None:
    """Run the request on standard input; without one, as when the segmentation failed, do nothing."""
    text = sys.stdin.read()
    if not text:
        return
    request = json.loads(text)
    specs = [
        SegmentSpec(s["id"], s["name"], tuple(s["colour"]), tuple(s["values"]), s["terminology"])
        for s in request["segments"]
    ]
    write_segmentation(Path(request["labels"]), Path(request["output"]), request["name"], specs)


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(str(error))
