"""Commands that are stored first: carried out later, looked at, cancelled."""
