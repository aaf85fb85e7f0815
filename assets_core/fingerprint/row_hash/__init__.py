"""The row hash ``rows1``: Arrow columns to 64-bit words by numpy, words to two order-free sums.

Each column type has a reader that writes one word per row, canonical for its value; words of a
row are mixed into two independent lanes, which are added up over the rows modulo 2^64. What a
word is may never change: ``tests/test_dataversion.py`` pins it. See docs/decisions/0001.

``hasher`` adds up the rows of tables; ``columns`` finds the reader of a type in ``fixed_width``,
``bytes_and_text``, ``encodings`` or ``nested``, all over ``buffers``. ``logical_types`` says which
types count as one; ``mixing`` holds the arithmetic and its constants.
"""
