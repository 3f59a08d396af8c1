"""The history of the casework tables; `open_casework` applies what a database lacks."""
