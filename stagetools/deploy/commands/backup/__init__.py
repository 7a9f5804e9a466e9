"""Backups: what is set up on a server for them, and what is asked of that."""
