"""The whole network on one machine: its processes, its set-up, its flow and its report."""
