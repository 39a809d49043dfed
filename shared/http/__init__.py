"""What every HTTP door has in common. The router of a service knows only what is its own."""
