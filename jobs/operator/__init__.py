"""The tasks `operator` and `follow-up-sweep`: they observe the board and tell, and move nothing by themselves."""
