"""Each runner says where tasks run; none knows a stage."""
