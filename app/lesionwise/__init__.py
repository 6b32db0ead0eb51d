"""lesionwise: new multiple-sclerosis lesions between two FLAIR time points."""

__version__ = "0.1.0"
