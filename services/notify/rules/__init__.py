"""Pure policy of notify: which notices, by which channels, and how a delivery goes on."""
