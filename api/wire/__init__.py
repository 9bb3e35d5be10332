"""How values look on the wire: proto-JSON, times, query parameters, page tokens. Pure; knows no resource."""
