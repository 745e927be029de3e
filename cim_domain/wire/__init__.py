"""What travels: messages, metadata, outcomes and errors, as bytes and back."""
