"""What a command does, a function each: it is given a workspace, and decides nothing by itself."""
