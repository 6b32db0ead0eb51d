"""Training of the two networks. Run from the repository (python -m train...); imports lesionwise, never the other way."""
