"""Where the server is and who connects: settings, and where they come from."""
