"""Which image is of which modality: names, DICOM tags, contrast."""
