"""Test support of both modules: fakes, and waiting for the application."""
