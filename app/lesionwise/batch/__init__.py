"""Many cases: found in a folder, computed one after the other, kept where they are current, and put in tables."""
