"""What runs in the web container, around the site."""
