"""Wing of volumes: from files on disk to windows in batches."""
