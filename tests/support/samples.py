"""Taxa and calibrations that several tests use."""

import numpy as np

from forametric.identification.calibration import Calibration

A, B, C = "Globigerina bulloides", "Globigerina falconensis", "Orbulina universa"


def calibration_of(**changes) -> Calibration:
    known = {
        "specimens": 99,
        "temperature": 1.0,
        "shift": {},
        "distance_weight": 0.0,
        "novelty_threshold": 1.0,
        "rejection_rate": 0.05,
        "novelty": np.linspace(0.3, 0.9, 61).round(3).tolist(),
        "novelty_leave_class_out": np.linspace(1.1, 1.5, 41).round(3).tolist(),
        "prior": {A: 0.4, B: 0.3, C: 0.3},
        "nonconformity": [round(n / 100, 2) for n in range(1, 100)],
    }
    return Calibration(**(known | changes))
