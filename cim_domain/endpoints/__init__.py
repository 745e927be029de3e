"""What answers on subjects: commands, queries, health, replays of dead letters."""
