"""One module a table, figure or question; README.md is the logbook."""
