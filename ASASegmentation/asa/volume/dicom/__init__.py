"""MR images from DICOM: series of one file per slice, and multi-frame files.

Headers are read by pydicom, uncompressed pixels by numpy, compressed ones by GDCM (SimpleITK). What identifies a
patient is compared between files, and is never part of a message.
"""
