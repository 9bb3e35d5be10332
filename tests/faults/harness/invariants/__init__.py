"""What must hold in every run (PROOFS): one module for each three or four of the invariants."""
