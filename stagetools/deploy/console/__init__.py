"""Between a person and a task: what is typed, and what is shown."""
