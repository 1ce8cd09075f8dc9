"""Pages people look at: what was kept, what was dropped, and why."""
