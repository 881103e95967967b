"""What a later correction needs travels with the segmentation: the engine's record of the result, and its images.

The record (label map and probabilities, a few hundred kB) is a text node that the segmentation refers to, so that it is
saved and loaded with the scene, also as .mrb, whatever the version of Slicer.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping

import slicer
from slicer.i18n import tr as _

from asa.tasks import TITLES
from ASASlicerLib.hierarchy import place_beside

_ROLE, _IMAGE_ROLE = "ASA.record", "ASA.image."


def attach_record(node: slicer.vtkMRMLSegmentationNode, record: bytes) -> slicer.vtkMRMLTextNode:
    """Store a record with its segmentation, in place of an earlier one."""
    text: slicer.vtkMRMLTextNode | None = node.GetNodeReference(_ROLE)
    if text is None:
        name = _("{segmentation} probabilities").format(segmentation=node.GetName())
        text = node.GetScene().AddNewNodeByClass("vtkMRMLTextNode", name)
        node.SetNodeReferenceID(_ROLE, text.GetID())
        place_beside(text, node)
    text.SetText(base64.b64encode(record).decode("ascii"))
    return text


def record_node(node: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLTextNode | None:
    """Return the text node that holds the record of a segmentation."""
    text: slicer.vtkMRMLTextNode | None = node.GetNodeReference(_ROLE)
    return text


def record_of(node: slicer.vtkMRMLSegmentationNode) -> bytes | None:
    """Return the record of a segmentation; None where there is none that can be read."""
    text = record_node(node)
    if text is None:
        return None
    try:
        return base64.b64decode(text.GetText() or "", validate=True) or None
    except (ValueError, binascii.Error):
        return None


def remember(node: slicer.vtkMRMLSegmentationNode) -> Callable[[], None]:
    """Return a function that restores the current record and images of a segmentation."""
    before, images = record_node(node), {key: volume.GetID() for key, volume in images_of(node).items()}
    text = None if before is None else before.GetText()

    def restore() -> None:
        now = record_node(node)
        if now is not None and text is None:
            now.GetScene().RemoveNode(now)
        elif now is not None:
            now.SetText(text)
        for key in TITLES:
            node.SetNodeReferenceID(_IMAGE_ROLE + key, images.get(key))

    return restore


def attach_images(node: slicer.vtkMRMLSegmentationNode, volumes: Mapping[str, slicer.vtkMRMLVolumeNode]) -> None:
    """Refer to the images (modality -> volume) that a segmentation was made from."""
    for key in TITLES:
        volume = volumes.get(key)
        node.SetNodeReferenceID(_IMAGE_ROLE + key, None if volume is None else volume.GetID())


def images_of(node: slicer.vtkMRMLSegmentationNode) -> dict[str, slicer.vtkMRMLVolumeNode]:
    """Return the images (modality -> volume) that a segmentation was made from and that are in the scene."""
    found = {key: node.GetNodeReference(_IMAGE_ROLE + key) for key in TITLES}
    return {key: volume for key, volume in found.items() if volume is not None}
