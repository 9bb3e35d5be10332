"""Set-up, operation and images: what starts, stops and feeds Longshore. Nothing of the product runs from here."""
