"""What a service is made of, a part a file: its start and stop, its health, its replays."""
