"""How much accuracy is lost when a head is turned, stored otherwise, coarse, shaded or noisy."""
