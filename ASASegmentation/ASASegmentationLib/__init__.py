"""MRML and Qt code of the segmentation module. The engine `asa` never imports this package."""
