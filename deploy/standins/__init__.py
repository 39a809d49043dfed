"""Servers of ours that stand in for the world outside, in the demo, in tests and in drills."""
