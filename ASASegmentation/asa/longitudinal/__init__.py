"""Change between two visits: volumes with their noise, and new, enlarging, stable, shrinking and resolved lesions."""
