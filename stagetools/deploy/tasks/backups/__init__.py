"""Backups: what `inv` calls to make, read and restore them."""
