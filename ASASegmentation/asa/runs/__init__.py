"""Run folders, the queue of runs on this machine, and the devices they wait for."""
