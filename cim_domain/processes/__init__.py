"""Running processes: what reacts to events, and the commands that come of it."""
