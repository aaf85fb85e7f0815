"""Where a step runs: in threads of this process, or in processes of their own."""
