"""The read side of the domain `DOMAIN`: views that follow the events, and queries."""
