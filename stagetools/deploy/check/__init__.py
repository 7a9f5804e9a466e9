"""What a project must pass before it is deployed: its files, its packages, its tests."""
