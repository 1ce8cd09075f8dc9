"""What the Dolma toolkit reads and writes, brought into our forms: mixing configurations and attributes."""
