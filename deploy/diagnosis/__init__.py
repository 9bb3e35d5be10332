"""`deploy/doctor`: what is wrong with the platform on this host, and the cure of each fault.

It looks and changes nothing: no folder is made, no row written, no process started. `checks` has the table, each
other module the checks of one subject, `site` what they look at.
"""
