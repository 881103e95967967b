"""Batches: the cases of a folder, a BIDS data set or DICOM files, in several processes or on a cluster."""
