"""What proves that nothing is lost, run twice or left behind while things are killed, cut, frozen and emptied.

    trial     one run of one fault: a platform, load, a keeper that restarts what died, and four records
    ledger    what the client asked for and was answered      witness   what the engines say that ran
    sampler   what was there, four times a second             rows      what the database says at the end
    checker   reads the four records, after the run and without the platform: the only judge
    chaos     signals and servers                             table     the results that are published

A fault is a function of a trial, registered in `tests.faults.catalogue`.
"""
