"""An app without models of its own: each test writes the migrations that it needs."""
