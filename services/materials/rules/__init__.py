"""Pure rules of materials: no I/O, no clock."""
