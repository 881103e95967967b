"""Data sets, splits, and stores of prepared scans and cases."""
