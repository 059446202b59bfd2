"""What every generated file carries along, as text."""
