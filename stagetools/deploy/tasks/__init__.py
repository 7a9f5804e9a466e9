"""What `inv` calls: a task each, and what they share."""
