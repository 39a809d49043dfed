"""The commands, one module a subject. What a command needs is imported inside it: start-up stays fast."""
