"""The laboratory in Slicer: data, runs, what they learn, and models made of them."""
