"""What an editor asks about a text and a place in it. Pure functions, on broken text too; no editor is known here."""
