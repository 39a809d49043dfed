"""Keeping personal data unreadable where it lies, and out of what people and machines see beside it."""
