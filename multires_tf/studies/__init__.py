"""Studies: arms side by side, in folds or not; what experiments are written in."""
