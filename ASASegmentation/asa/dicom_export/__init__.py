"""Results as DICOM: segmentation objects and measurement reports. Imports numpy alone; highdicom when it writes."""
