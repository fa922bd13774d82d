"""The archive of CFHTLS: stacks and windows at the CADC, and targets by VizieR."""
