"""The verbs: one file is one word of the command line and one output of the run folder."""
