"""Faults that the suite has to catch, each a patch of product code with the tests that fail under it.

`NN-name.patch` begins with three lines, which git passes over, and a blank one:

    Fault: one sentence about what is wrong with the product
    Caught by: the tests of this suite that fail under it, with ` | ` between
    Caught before by: the tests that caught it before the suite was made cheaper (commit 7514b1e)

`bin/faults [NN...]` puts each into a copy of the last commit and runs its tests; `tests/test_faults.py` sees on every run that
each patch still applies. A change of the code that a patch is about takes a new patch: apply the same fault by hand, and write
`git diff -U1` below the header.
"""
