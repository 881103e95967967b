"""Reproduction of Tables 2, 3 and 4 and Figure 4 of the paper in one command."""
