"""Who is asking, and how we know."""
