"""Reading what people write in arguments."""
