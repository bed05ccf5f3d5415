"""Ground: what everything stands on; settings, folders, errors, memory, processes."""
