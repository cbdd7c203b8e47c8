"""Linear heads of a frozen encoder in closed form."""
