"""Tables 2, 3 and 4 and Figure 4 of the paper in one command: what to train, where, and how the result is shown."""
