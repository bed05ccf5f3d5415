"""Wing of numbers: errors in HU, the baseline, statistics and figures."""
