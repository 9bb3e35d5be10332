"""Which queued jobs go where, in what order, and why the others wait. Pure: a snapshot in, a plan out.

`values` is what goes in and comes out; `room` counts what is free; `turns` says whose turn it is;
`reservations` keeps big gangs from starving; `forecast` guesses when the others start; `sentences` says why they
wait; `planning` is the pass. It is in `core` because the scheduler plans with it and the API's dry run asks it.
Nothing here reads a clock, a row or a random number: the same snapshot gives the same plan.
"""
