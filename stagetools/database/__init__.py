"""The database's safety, from inside a release: plan, rehearse, snapshot, migrate, reverse."""
