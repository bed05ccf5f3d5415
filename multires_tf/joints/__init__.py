"""Joints: where a run's config and folder meet the wings; what the verbs are made of."""
