"""How the MSSEG-2 challenge lays out its data: one folder a patient, and the names of the files in it."""

TIME1 = "flair_time01_on_middle_space.nii.gz"
TIME2 = "flair_time02_on_middle_space.nii.gz"
GROUND_TRUTH = "ground_truth.nii.gz"
"""The experts' consensus of what is new at time 2; only in training data."""

SEGMENTATION = "segmentation.nii.gz"
PROBABILITIES = "probabilities.nii.gz"
"""What this program writes into a patient's folder of results."""

TRUTHS = (GROUND_TRUTH, *(f"ground_truth_expert{expert}.nii.gz" for expert in range(1, 5)))
"""The consensus and what each of the four experts marked."""

BRAIN_MASK = "brain_mask.nii.gz"
"""What the challenge's preprocessing adds: the brain of both time points together."""


def patient_folder(number: int) -> str:
    """Return the name of a patient's folder."""
    return f"patient{number:03d}"
