"""The operator's command line, one file for each group of commands; `mc_cli.py` puts them together."""
