"""The way to the server: over SSH, or on paper."""
