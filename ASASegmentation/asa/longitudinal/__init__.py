"""Change between two visits: volumes with their noise, and lesions that appeared, grew, shrank or went."""
