"""Place nodes in the subject hierarchy."""

from __future__ import annotations

import slicer


def place_beside(node: slicer.vtkMRMLNode, other: slicer.vtkMRMLNode) -> None:
    """Move a node's subject-hierarchy item next to that of another, such as the scan, into the patient's study."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    if hierarchy is None:
        return
    beside = hierarchy.GetItemByDataNode(other)
    parent = hierarchy.GetItemParent(beside) if beside else hierarchy.GetSceneItemID()
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, parent)
    else:  # no plug-in has created an item
        hierarchy.CreateItem(parent, node)
