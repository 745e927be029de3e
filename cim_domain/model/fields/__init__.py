"""What the fields of a model may hold, by their annotations; imports nothing else of the model."""
