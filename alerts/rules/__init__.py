"""A rules file, read and checked."""
