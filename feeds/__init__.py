"""The HTTP front: Open311 for citizens' apps."""
