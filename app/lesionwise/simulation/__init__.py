"""Synthetic time points: anatomy, lesions, acquisition. Used by training and by the phantom command."""
