"""MASPO in verl: how the launch script is written."""
