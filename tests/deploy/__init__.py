"""Set-up of machines, where no machine is needed to see it."""
