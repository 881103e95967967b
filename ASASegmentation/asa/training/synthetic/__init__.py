"""Training of the shipped models on synthetic heads and lesions."""
