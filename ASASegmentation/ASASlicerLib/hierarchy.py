"""The subject hierarchy: where a node lies among patients and studies."""

from __future__ import annotations

import slicer


def place_beside(node: slicer.vtkMRMLNode, volume: slicer.vtkMRMLVolumeNode) -> None:
    """Moves a node's subject-hierarchy item under the parent of the scan's: its patient's study."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    if hierarchy is None:
        return
    beside = hierarchy.GetItemByDataNode(volume)
    parent = hierarchy.GetItemParent(beside) if beside else hierarchy.GetSceneItemID()
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, parent)
    else:  # where no plug-in has made one
        hierarchy.CreateItem(parent, node)
