"""Pure builders: each function returns a quoted Command, and touches nothing."""
