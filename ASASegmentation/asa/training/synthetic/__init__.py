"""Training of the models that ship, on synthetic heads and lesions."""
