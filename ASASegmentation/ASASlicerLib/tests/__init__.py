"""What the tests of both modules share: fakes, and ways to wait for the application."""
