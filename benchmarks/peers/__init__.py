"""The peers that the kit is measured beside, at the same work."""
