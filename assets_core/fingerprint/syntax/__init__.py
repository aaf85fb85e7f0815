"""Python source as normalised syntax: what a piece of code says, and which outside names it uses.

Two forms of each piece are kept. The *lean* one leaves out whatever can't alter a result: comments,
docstrings, positions, annotations, the names of local variables, the text of log messages. The
*full* one keeps all of that but comments and positions, for code that can see its own names
(through frames, ``__name__``, captured output). ``units`` makes them, ``unit`` is what they are.
What outside names stand for is not decided here but in ``following``; files are found and read in
``sources``.
"""
