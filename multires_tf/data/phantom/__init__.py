"""Whole-body phantoms: a parametric body, and what an MR and a CT scanner would make of it."""
