"""From a function to all of the project's own code that it reaches: see ``follower``."""
