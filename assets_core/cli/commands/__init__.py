"""The commands, a few to a module; each prints what the project answers."""
