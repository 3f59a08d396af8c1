"""What a pass over the rows leaves for the next one."""
