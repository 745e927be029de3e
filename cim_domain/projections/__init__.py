"""The read side: what keeps views up with the log, and says how far they are."""
