"""Files that outlive a power cut, and turns of several processes."""
