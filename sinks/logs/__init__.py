"""Ships what the processes say, from the files that a supervisor keeps, to where it is read."""
