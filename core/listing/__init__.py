"""Lists of any resource: conditions, order and pages by key. A resource's fields are beside its other queries."""
