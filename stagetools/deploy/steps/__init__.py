"""What a deploy does to a server, one module per thing changed."""
