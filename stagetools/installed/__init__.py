"""What an installed project has outside of its directory."""
