"""What would change the choice: parameters swept, plans evaluated anew, the capacity of a plan."""
