"""What an installation's name says, and whether it is so."""
