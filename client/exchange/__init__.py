"""How requests get answered: flows that do no input or output, and two thin drivers that do it for them."""
