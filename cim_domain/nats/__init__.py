"""Everything that touches NATS; nothing in here knows of aggregates."""
