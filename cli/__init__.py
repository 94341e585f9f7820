"""The operator's command line, one file per group of commands, combined in `mc_cli.py`."""
