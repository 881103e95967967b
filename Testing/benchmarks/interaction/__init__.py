"""Interactive correction by a simulated user: ours compared with three peers."""
