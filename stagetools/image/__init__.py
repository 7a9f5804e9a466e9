"""What runs while a project's container image is built."""
