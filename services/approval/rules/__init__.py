"""Pure rules of approval: no I/O, no clock."""
