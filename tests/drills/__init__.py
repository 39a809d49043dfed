"""Drills: everything is killed while it works, and what is left is compared with what was promised."""
