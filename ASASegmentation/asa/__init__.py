"""Brain MRI segmentation with the Attentive Symmetric Auto-encoder.

The engine knows images, networks and tasks, but nothing of 3D Slicer. Importing it is fast: packages are imported on
demand.
"""

__version__ = "0.1.0"
