"""The command line: one file for each group of commands, each importing what it needs when it is called."""
