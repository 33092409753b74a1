"""The same networks taken apart for speed on a CPU: no gradients, no hooks, no attention weights."""
