"""Show charts of a run as plot nodes of the scene, for Slicer's plot views."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from ASATrainingLib.watch.curves import Chart, Curve

_CHART, _CURVE = "ASA.chart", "ASA.curve"
_FITTED = "ASA.fitted"  # attribute of a chart: the axis ranges that were set here
_MARGIN = 0.05
_STEP = "step"


class Plots:
    """Updates a chart node, and a table and a series node per curve.

    The nodes are reused for the next run and recognised in saved scenes.
    """

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self._scene = scene

    def show(self, run: str, charts: Sequence[Chart]) -> None:
        """Update the nodes and remove obsolete charts and curves."""
        wanted = {chart.key for chart in charts}
        for key, node in self.nodes().items():
            if key not in wanted:
                self._remove(node)
        for chart in charts:
            self._show(run, chart)

    def nodes(self) -> dict[str, slicer.vtkMRMLPlotChartNode]:
        """Return the charts of the scene created here, by key."""
        found = slicer.util.getNodesByClass("vtkMRMLPlotChartNode", self._scene)
        return {node.GetAttribute(_CHART): node for node in found if node.GetAttribute(_CHART)}

    def clear(self) -> None:
        """Remove all charts from the scene."""
        for node in self.nodes().values():
            self._remove(node)

    def _show(self, run: str, chart: Chart) -> None:
        node = self.nodes().get(chart.key)
        if node is None:
            node = self._scene.AddNewNodeByClass("vtkMRMLPlotChartNode")
            node.SetAttribute(_CHART, chart.key)
            node.SetXAxisTitle(_STEP)
            node.SetGridVisibility(True)
            node.SetLegendVisibility(True)
        modified = node.StartModify()
        if node.GetName() != f"{run}: {chart.title}":  # what the user zoomed into was another run
            node.SetAttribute(_FITTED, None)
        node.SetName(f"{run}: {chart.title}")
        node.SetTitle(chart.title)
        node.SetYAxisTitle(chart.axis)
        node.SetLegendVisibility(len(chart.curves) > 1)
        there = {series.GetAttribute(_CURVE): series for series in _series(node)}
        titles = {curve.title for curve in chart.curves}
        for title, series in there.items():
            if title not in titles:
                self._remove_series(node, series)
        for curve in chart.curves:
            series = there.get(curve.title) or self._new_series(node, curve)
            series.SetName(curve.title)
            table = series.GetTableNode()
            table.SetName(f"{run}: {chart.title}, {curve.title}")
            table.SetAndObserveTable(_table(chart.axis, curve))
            series.SetYColumnName(chart.axis)
        _fit(node, chart.curves)
        node.EndModify(modified)

    def _new_series(self, chart: slicer.vtkMRMLPlotChartNode, curve: Curve) -> slicer.vtkMRMLPlotSeriesNode:
        table = self._scene.AddNewNodeByClass("vtkMRMLTableNode")
        series: slicer.vtkMRMLPlotSeriesNode = self._scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode")
        series.SetAttribute(_CURVE, curve.title)
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetXColumnName(_STEP)
        series.SetPlotType(series.PlotTypeScatter)
        series.SetLineStyle(series.LineStyleSolid)
        series.SetLineWidth(curve.width)
        series.SetMarkerStyle(series.MarkerStyleCircle if curve.dots else series.MarkerStyleNone)
        series.SetMarkerSize(6)
        series.SetColor(*curve.colour)
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
        return series

    def _remove_series(self, chart: slicer.vtkMRMLPlotChartNode, series: slicer.vtkMRMLPlotSeriesNode) -> None:
        chart.RemovePlotSeriesNodeID(series.GetID())
        table = series.GetTableNode()
        self._scene.RemoveNode(series)
        if table is not None:
            self._scene.RemoveNode(table)

    def _remove(self, chart: slicer.vtkMRMLPlotChartNode) -> None:
        for series in _series(chart):
            self._remove_series(chart, series)
        self._scene.RemoveNode(chart)


def _fit(node: slicer.vtkMRMLPlotChartNode, curves: Sequence[Curve]) -> None:
    """Fit the axes to the curves, unless the user has zoomed: plot views do not follow their data."""
    if _zoomed(node):
        return
    limits = [*_limits([curve.steps for curve in curves], 0.0), *_limits([curve.values for curve in curves], _MARGIN)]
    node.SetXAxisRangeAuto(False)
    node.SetYAxisRangeAuto(False)
    node.SetXAxisRange(*limits[:2])
    node.SetYAxisRange(*limits[2:])
    node.SetAttribute(_FITTED, " ".join(map(repr, limits)))


def _zoomed(node: slicer.vtkMRMLPlotChartNode) -> bool:
    """Whether the axes are no longer as `_fit` set them; *Fit to content* in the view changes them a little."""
    fitted = [float(text) for text in (node.GetAttribute(_FITTED) or "").split()]
    if not fitted or node.GetXAxisRangeAuto() or node.GetYAxisRangeAuto():
        return False
    pairs = ((node.GetXAxisRange(), fitted[:2]), (node.GetYAxisRange(), fitted[2:]))
    return any(
        abs(end - wanted) > 2 * _MARGIN * (limits[1] - limits[0])
        for shown, limits in pairs
        for end, wanted in zip(shown, limits, strict=True)
    )


def _limits(arrays: Sequence[np.ndarray], margin: float) -> tuple[float, float]:
    """Return the lowest and the highest finite value, with a margin as a share of their difference."""
    values = np.concatenate([np.asarray(array, float) for array in arrays])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    room = margin * (high - low) or (0.0 if high > low else 0.5 * abs(high) or 0.5)
    return low - room, high + room


def _series(chart: slicer.vtkMRMLPlotChartNode) -> list[slicer.vtkMRMLPlotSeriesNode]:
    found = [chart.GetNthPlotSeriesNode(i) for i in range(chart.GetNumberOfPlotSeriesNodes())]
    return [series for series in found if series is not None]


def _table(axis: str, curve: Curve) -> vtk.vtkTable:
    """Create a table from arrays, because adding rows would take seconds."""
    table = vtk.vtkTable()
    for name, values in ((_STEP, curve.steps), (axis, curve.values)):
        column = numpy_to_vtk(values, deep=1, array_type=vtk.VTK_DOUBLE)
        column.SetName(name)
        table.AddColumn(column)
    return table
