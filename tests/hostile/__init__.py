"""A table of hostile and broken inputs, and what sends them to a running page: `cases.CASES`."""
